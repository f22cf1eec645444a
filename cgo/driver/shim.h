// What the shim found, for Go.
typedef struct {
    int loaded;
    int version;       // 12040 is 12.4; 0: no library was opened
    char path[1024];   // of the library, if one was opened
    char reason[2048]; // why no driver is loaded
} Driver;

// f2pad_driver opens the driver, unless that was tried before. What it returns does not change any more.
const Driver *f2pad_driver(void);
