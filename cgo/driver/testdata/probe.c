// Prints what the shim says of result codes, what it answers to a call that all drivers have and to one that few have, and
// which driver it has opened.
#include "../shim.h"
#include <cuda.h>
#include <stdio.h>

int main(void) {
    const int codes[] = {0, 2, 100, 500, 999, 4242};
    for (int i = 0; i < 6; i++) {
        const char *name, *text;
        int r = cuGetErrorName(codes[i], &name), s = cuGetErrorString(codes[i], &text);
        printf("%d: %d %s, %d %s\n", codes[i], r, name ? name : "-", s, text ? text : "-");
    }
    CUdeviceptr p = 0;
    int allocated = cuMemAlloc(&p, 41), encoded = cuTensorMapEncodeTiled(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    printf("cuMemAlloc: %d %d, cuTensorMapEncodeTiled: %d\n", allocated, (int)p, encoded);
    const Driver *d = f2pad_driver();
    printf("driver %s, loaded %d: %s\n", d->path, d->loaded, d->reason);
}
