// The driver API's functions that the project links to: X(name, parameters, arguments). Included wherever the list is wanted,
// with X defined: cuda.h makes prototypes of it, the shim makes forwarders. The names are those that libcuda.so.1 exports.

// Initialisation, errors, versions
X(cuInit, (unsigned int flags), (flags))
X(cuDriverGetVersion, (int *version), (version))
X(cuGetErrorName, (CUresult error, const char **name), (error, name))
X(cuGetErrorString, (CUresult error, const char **text), (error, text))

// Devices
X(cuDeviceGet, (CUdevice *device, int ordinal), (device, ordinal))
X(cuDeviceGetCount, (int *count), (count))
X(cuDeviceGetName, (char *name, int length, CUdevice device), (name, length, device))
X(cuDeviceGetUuid_v2, (CUuuid *uuid, CUdevice device), (uuid, device))
X(cuDeviceTotalMem_v2, (size_t *bytes, CUdevice device), (bytes, device))
X(cuDeviceGetAttribute, (int *value, CUdevice_attribute attribute, CUdevice device), (value, attribute, device))
X(cuDeviceGetPCIBusId, (char *id, int length, CUdevice device), (id, length, device))
X(cuDeviceCanAccessPeer, (int *can, CUdevice device, CUdevice peer), (can, device, peer))
X(cuDeviceGetP2PAttribute, (int *value, CUdevice_P2PAttribute attribute, CUdevice source, CUdevice target),
  (value, attribute, source, target))
X(cuDevicePrimaryCtxRetain, (CUcontext *context, CUdevice device), (context, device))
X(cuDevicePrimaryCtxRelease_v2, (CUdevice device), (device))
X(cuDevicePrimaryCtxSetFlags_v2, (CUdevice device, unsigned int flags), (device, flags))
X(cuDevicePrimaryCtxGetState, (CUdevice device, unsigned int *flags, int *active), (device, flags, active))
X(cuDevicePrimaryCtxReset_v2, (CUdevice device), (device))

// Contexts
X(cuCtxCreate_v2, (CUcontext *context, unsigned int flags, CUdevice device), (context, flags, device))
X(cuCtxDestroy_v2, (CUcontext context), (context))
X(cuCtxPushCurrent_v2, (CUcontext context), (context))
X(cuCtxPopCurrent_v2, (CUcontext *context), (context))
X(cuCtxSetCurrent, (CUcontext context), (context))
X(cuCtxGetCurrent, (CUcontext *context), (context))
X(cuCtxGetDevice, (CUdevice *device), (device))
X(cuCtxGetFlags, (unsigned int *flags), (flags))
X(cuCtxSynchronize, (void), ())
X(cuCtxSetLimit, (CUlimit limit, size_t value), (limit, value))
X(cuCtxGetLimit, (size_t *value, CUlimit limit), (value, limit))
X(cuCtxGetCacheConfig, (CUfunc_cache *config), (config))
X(cuCtxSetCacheConfig, (CUfunc_cache config), (config))
X(cuCtxGetSharedMemConfig, (CUsharedconfig *config), (config))
X(cuCtxSetSharedMemConfig, (CUsharedconfig config), (config))
X(cuCtxGetApiVersion, (CUcontext context, unsigned int *version), (context, version))
X(cuCtxGetStreamPriorityRange, (int *least, int *greatest), (least, greatest))
X(cuCtxResetPersistingL2Cache, (void), ())
X(cuCtxEnablePeerAccess, (CUcontext peer, unsigned int flags), (peer, flags))
X(cuCtxDisablePeerAccess, (CUcontext peer), (peer))

// Modules and linking
X(cuModuleLoad, (CUmodule *module, const char *path), (module, path))
X(cuModuleLoadData, (CUmodule *module, const void *image), (module, image))
X(cuModuleLoadDataEx, (CUmodule *module, const void *image, unsigned int n, CUjit_option *options, void **values),
  (module, image, n, options, values))
X(cuModuleLoadFatBinary, (CUmodule *module, const void *image), (module, image))
X(cuModuleUnload, (CUmodule module), (module))
X(cuModuleGetFunction, (CUfunction *function, CUmodule module, const char *name), (function, module, name))
X(cuModuleGetGlobal_v2, (CUdeviceptr *address, size_t *bytes, CUmodule module, const char *name),
  (address, bytes, module, name))
X(cuModuleGetTexRef, (CUtexref *texref, CUmodule module, const char *name), (texref, module, name))
X(cuModuleGetSurfRef, (CUsurfref *surfref, CUmodule module, const char *name), (surfref, module, name))
X(cuLinkCreate_v2, (unsigned int n, CUjit_option *options, void **values, CUlinkState *state), (n, options, values, state))
X(cuLinkAddData_v2, (CUlinkState state, CUjitInputType type, void *data, size_t bytes, const char *name, unsigned int n,
                     CUjit_option *options, void **values), (state, type, data, bytes, name, n, options, values))
X(cuLinkAddFile_v2, (CUlinkState state, CUjitInputType type, const char *path, unsigned int n, CUjit_option *options,
                     void **values), (state, type, path, n, options, values))
X(cuLinkComplete, (CUlinkState state, void **cubin, size_t *bytes), (state, cubin, bytes))
X(cuLinkDestroy, (CUlinkState state), (state))

// Memory
X(cuMemGetInfo_v2, (size_t *available, size_t *total), (available, total))
X(cuMemAlloc_v2, (CUdeviceptr *address, size_t bytes), (address, bytes))
X(cuMemAllocPitch_v2, (CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned int element),
  (address, pitch, width, height, element))
X(cuMemAllocManaged, (CUdeviceptr *address, size_t bytes, unsigned int flags), (address, bytes, flags))
X(cuMemFree_v2, (CUdeviceptr address), (address))
X(cuMemAllocAsync, (CUdeviceptr *address, size_t bytes, CUstream stream), (address, bytes, stream))
X(cuMemFreeAsync, (CUdeviceptr address, CUstream stream), (address, stream))
X(cuMemAllocHost_v2, (void **host, size_t bytes), (host, bytes))
X(cuMemHostAlloc, (void **host, size_t bytes, unsigned int flags), (host, bytes, flags))
X(cuMemHostGetDevicePointer_v2, (CUdeviceptr *address, void *host, unsigned int flags), (address, host, flags))
X(cuMemHostRegister_v2, (void *host, size_t bytes, unsigned int flags), (host, bytes, flags))
X(cuMemHostUnregister, (void *host), (host))
X(cuMemFreeHost, (void *host), (host))
X(cuMemGetAddressRange_v2, (CUdeviceptr *base, size_t *bytes, CUdeviceptr address), (base, bytes, address))
X(cuMemAdvise, (CUdeviceptr address, size_t bytes, CUmem_advise advice, CUdevice device), (address, bytes, advice, device))
X(cuMemPrefetchAsync, (CUdeviceptr address, size_t bytes, CUdevice device, CUstream stream), (address, bytes, device, stream))
X(cuPointerGetAttribute, (void *value, CUpointer_attribute attribute, CUdeviceptr address), (value, attribute, address))
X(cuPointerSetAttribute, (const void *value, CUpointer_attribute attribute, CUdeviceptr address), (value, attribute, address))

// Copies
X(cuMemcpy, (CUdeviceptr to, CUdeviceptr from, size_t bytes), (to, from, bytes))
X(cuMemcpyAsync, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream), (to, from, bytes, stream))
X(cuMemcpyPeer, (CUdeviceptr to, CUcontext there, CUdeviceptr from, CUcontext here, size_t bytes),
  (to, there, from, here, bytes))
X(cuMemcpyPeerAsync, (CUdeviceptr to, CUcontext there, CUdeviceptr from, CUcontext here, size_t bytes, CUstream stream),
  (to, there, from, here, bytes, stream))
X(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t bytes), (to, from, bytes))
X(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream), (to, from, bytes, stream))
X(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t bytes), (to, from, bytes))
X(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream), (to, from, bytes, stream))
X(cuMemcpyDtoD_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes), (to, from, bytes))
X(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream), (to, from, bytes, stream))
X(cuMemcpyDtoA_v2, (CUarray to, size_t offset, CUdeviceptr from, size_t bytes), (to, offset, from, bytes))
X(cuMemcpyAtoD_v2, (CUdeviceptr to, CUarray from, size_t offset, size_t bytes), (to, from, offset, bytes))
X(cuMemcpyHtoA_v2, (CUarray to, size_t offset, const void *from, size_t bytes), (to, offset, from, bytes))
X(cuMemcpyHtoAAsync_v2, (CUarray to, size_t offset, const void *from, size_t bytes, CUstream stream),
  (to, offset, from, bytes, stream))
X(cuMemcpyAtoH_v2, (void *to, CUarray from, size_t offset, size_t bytes), (to, from, offset, bytes))
X(cuMemcpyAtoHAsync_v2, (void *to, CUarray from, size_t offset, size_t bytes, CUstream stream),
  (to, from, offset, bytes, stream))
X(cuMemcpyAtoA_v2, (CUarray to, size_t toOffset, CUarray from, size_t fromOffset, size_t bytes),
  (to, toOffset, from, fromOffset, bytes))
X(cuMemcpy2D_v2, (const CUDA_MEMCPY2D *copy), (copy))
X(cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D *copy), (copy))
X(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D *copy, CUstream stream), (copy, stream))
X(cuMemcpy3D_v2, (const CUDA_MEMCPY3D *copy), (copy))
X(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D *copy, CUstream stream), (copy, stream))
X(cuMemcpy3DPeer, (const CUDA_MEMCPY3D_PEER *copy), (copy))
X(cuMemcpy3DPeerAsync, (const CUDA_MEMCPY3D_PEER *copy, CUstream stream), (copy, stream))

// Fills
X(cuMemsetD8_v2, (CUdeviceptr to, unsigned char value, size_t n), (to, value, n))
X(cuMemsetD16_v2, (CUdeviceptr to, unsigned short value, size_t n), (to, value, n))
X(cuMemsetD32_v2, (CUdeviceptr to, unsigned int value, size_t n), (to, value, n))
X(cuMemsetD2D8_v2, (CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height),
  (to, pitch, value, width, height))
X(cuMemsetD2D16_v2, (CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height),
  (to, pitch, value, width, height))
X(cuMemsetD2D32_v2, (CUdeviceptr to, size_t pitch, unsigned int value, size_t width, size_t height),
  (to, pitch, value, width, height))
X(cuMemsetD8Async, (CUdeviceptr to, unsigned char value, size_t n, CUstream stream), (to, value, n, stream))
X(cuMemsetD16Async, (CUdeviceptr to, unsigned short value, size_t n, CUstream stream), (to, value, n, stream))
X(cuMemsetD32Async, (CUdeviceptr to, unsigned int value, size_t n, CUstream stream), (to, value, n, stream))
X(cuMemsetD2D8Async, (CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height, CUstream stream),
  (to, pitch, value, width, height, stream))
X(cuMemsetD2D16Async, (CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height, CUstream stream),
  (to, pitch, value, width, height, stream))
X(cuMemsetD2D32Async, (CUdeviceptr to, size_t pitch, unsigned int value, size_t width, size_t height, CUstream stream),
  (to, pitch, value, width, height, stream))

// Arrays
X(cuArrayCreate_v2, (CUarray *array, const CUDA_ARRAY_DESCRIPTOR *descriptor), (array, descriptor))
X(cuArrayGetDescriptor_v2, (CUDA_ARRAY_DESCRIPTOR *descriptor, CUarray array), (descriptor, array))
X(cuArray3DCreate_v2, (CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *descriptor), (array, descriptor))
X(cuArray3DGetDescriptor_v2, (CUDA_ARRAY3D_DESCRIPTOR *descriptor, CUarray array), (descriptor, array))
X(cuArrayDestroy, (CUarray array), (array))

// Streams
X(cuStreamCreate, (CUstream *stream, unsigned int flags), (stream, flags))
X(cuStreamCreateWithPriority, (CUstream *stream, unsigned int flags, int priority), (stream, flags, priority))
X(cuStreamDestroy_v2, (CUstream stream), (stream))
X(cuStreamGetPriority, (CUstream stream, int *priority), (stream, priority))
X(cuStreamGetFlags, (CUstream stream, unsigned int *flags), (stream, flags))
X(cuStreamQuery, (CUstream stream), (stream))
X(cuStreamSynchronize, (CUstream stream), (stream))
X(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned int flags), (stream, event, flags))
X(cuStreamAttachMemAsync, (CUstream stream, CUdeviceptr address, size_t bytes, unsigned int flags),
  (stream, address, bytes, flags))
X(cuStreamWaitValue32_v2, (CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned int flags),
  (stream, address, value, flags))
X(cuStreamWriteValue32_v2, (CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned int flags),
  (stream, address, value, flags))
X(cuStreamBeginCapture_v2, (CUstream stream, CUstreamCaptureMode mode), (stream, mode))
X(cuStreamEndCapture, (CUstream stream, CUgraph *graph), (stream, graph))
X(cuStreamIsCapturing, (CUstream stream, CUstreamCaptureStatus *status), (stream, status))

// Events
X(cuEventCreate, (CUevent *event, unsigned int flags), (event, flags))
X(cuEventRecord, (CUevent event, CUstream stream), (event, stream))
X(cuEventQuery, (CUevent event), (event))
X(cuEventSynchronize, (CUevent event), (event))
X(cuEventElapsedTime, (float *milliseconds, CUevent start, CUevent end), (milliseconds, start, end))
X(cuEventDestroy_v2, (CUevent event), (event))

// Functions and launches
X(cuFuncGetAttribute, (int *value, CUfunction_attribute attribute, CUfunction function), (value, attribute, function))
X(cuFuncSetAttribute, (CUfunction function, CUfunction_attribute attribute, int value), (function, attribute, value))
X(cuFuncSetCacheConfig, (CUfunction function, CUfunc_cache config), (function, config))
X(cuFuncSetSharedMemConfig, (CUfunction function, CUsharedconfig config), (function, config))
X(cuLaunchKernel, (CUfunction function, unsigned int gridX, unsigned int gridY, unsigned int gridZ, unsigned int blockX,
                   unsigned int blockY, unsigned int blockZ, unsigned int sharedBytes, CUstream stream, void **params,
                   void **extra), (function, gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes, stream, params, extra))
X(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction function, void **params, void **extra),
  (config, function, params, extra))
X(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *blocks, CUfunction function, int blockSize, size_t sharedBytes),
  (blocks, function, blockSize, sharedBytes))
X(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags,
  (int *blocks, CUfunction function, int blockSize, size_t sharedBytes, unsigned int flags),
  (blocks, function, blockSize, sharedBytes, flags))
X(cuOccupancyMaxPotentialBlockSize,
  (int *gridSize, int *blockSize, CUfunction function, CUoccupancyB2DSize sharedOf, size_t sharedBytes, int limit),
  (gridSize, blockSize, function, sharedOf, sharedBytes, limit))
X(cuTensorMapEncodeTiled,
  (CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address, const cuuint64_t *dims,
   const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *elementStrides, CUtensorMapInterleave interleave,
   CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill),
  (map, type, rank, address, dims, strides, box, elementStrides, interleave, swizzle, promotion, fill))

// Graphs
X(cuGraphCreate, (CUgraph *graph, unsigned int flags), (graph, flags))
X(cuGraphDestroy, (CUgraph graph), (graph))
X(cuGraphClone, (CUgraph *clone, CUgraph graph), (clone, graph))
X(cuGraphInstantiateWithFlags, (CUgraphExec *exec, CUgraph graph, unsigned long long flags), (exec, graph, flags))
X(cuGraphLaunch, (CUgraphExec exec, CUstream stream), (exec, stream))
X(cuGraphUpload, (CUgraphExec exec, CUstream stream), (exec, stream))
X(cuGraphExecDestroy, (CUgraphExec exec), (exec))
X(cuGraphGetNodes, (CUgraph graph, CUgraphNode *nodes, size_t *n), (graph, nodes, n))
X(cuGraphGetEdges, (CUgraph graph, CUgraphNode *from, CUgraphNode *to, size_t *n), (graph, from, to, n))
X(cuGraphAddDependencies, (CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t n), (graph, from, to, n))
X(cuGraphAddEmptyNode, (CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t n), (node, graph, after, n))
X(cuGraphAddHostNode,
  (CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t n, const CUDA_HOST_NODE_PARAMS *params),
  (node, graph, after, n, params))
X(cuGraphAddKernelNode,
  (CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t n, const CUDA_KERNEL_NODE_PARAMS *params),
  (node, graph, after, n, params))
X(cuGraphAddMemcpyNode,
  (CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t n, const CUDA_MEMCPY3D *params, CUcontext context),
  (node, graph, after, n, params, context))
X(cuGraphAddMemsetNode,
  (CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t n, const CUDA_MEMSET_NODE_PARAMS *params,
   CUcontext context),
  (node, graph, after, n, params, context))
X(cuGraphAddChildGraphNode, (CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t n, CUgraph child),
  (node, graph, after, n, child))
X(cuGraphDestroyNode, (CUgraphNode node), (node))

// Texture and surface references
X(cuTexRefSetArray, (CUtexref ref, CUarray array, unsigned int flags), (ref, array, flags))
X(cuTexRefSetAddress_v2, (size_t *offset, CUtexref ref, CUdeviceptr address, size_t bytes), (offset, ref, address, bytes))
X(cuTexRefSetAddress2D_v3, (CUtexref ref, const CUDA_ARRAY_DESCRIPTOR *descriptor, CUdeviceptr address, size_t pitch),
  (ref, descriptor, address, pitch))
X(cuTexRefSetFormat, (CUtexref ref, CUarray_format format, int components), (ref, format, components))
X(cuTexRefSetAddressMode, (CUtexref ref, int dim, CUaddress_mode mode), (ref, dim, mode))
X(cuTexRefSetFilterMode, (CUtexref ref, CUfilter_mode mode), (ref, mode))
X(cuTexRefSetMipmapFilterMode, (CUtexref ref, CUfilter_mode mode), (ref, mode))
X(cuTexRefSetMipmapLevelBias, (CUtexref ref, float bias), (ref, bias))
X(cuTexRefSetMipmapLevelClamp, (CUtexref ref, float least, float greatest), (ref, least, greatest))
X(cuTexRefSetMaxAnisotropy, (CUtexref ref, unsigned int greatest), (ref, greatest))
X(cuTexRefSetBorderColor, (CUtexref ref, float *colour), (ref, colour))
X(cuTexRefSetFlags, (CUtexref ref, unsigned int flags), (ref, flags))
X(cuTexRefGetAddress_v2, (CUdeviceptr *address, CUtexref ref), (address, ref))
X(cuTexRefGetArray, (CUarray *array, CUtexref ref), (array, ref))
X(cuTexRefGetAddressMode, (CUaddress_mode *mode, CUtexref ref, int dim), (mode, ref, dim))
X(cuTexRefGetFilterMode, (CUfilter_mode *mode, CUtexref ref), (mode, ref))
X(cuTexRefGetFormat, (CUarray_format *format, int *components, CUtexref ref), (format, components, ref))
X(cuTexRefGetMaxAnisotropy, (int *greatest, CUtexref ref), (greatest, ref))
X(cuTexRefGetBorderColor, (float *colour, CUtexref ref), (colour, ref))
X(cuTexRefGetFlags, (unsigned int *flags, CUtexref ref), (flags, ref))
X(cuSurfRefSetArray, (CUsurfref ref, CUarray array, unsigned int flags), (ref, array, flags))
X(cuSurfRefGetArray, (CUarray *array, CUsurfref ref), (array, ref))
