/* For the tests: makes one file operation of a process fail, or kills the process there. Loaded with LD_PRELOAD.
 *
 * The process says when: write(ARM, "12 28") lets the twelfth operation from now on fail with errno 28, and "12 0" kills
 * the process before it; write(DISARM, "") returns 1 if it came to that, else 0, and ends it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ARM = -77, DISARM = -78 };
static long left, error, armed, reached;

static int faulty(void) {
    if (!armed || --left != 0) return 0;
    reached = 1;
    if (error == 0) kill(getpid(), SIGKILL);
    errno = (int)error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    if (file == ARM) {
        armed = sscanf(data, "%ld %ld", &left, &error) == 2;
        reached = 0;
        return (ssize_t)size;
    }
    if (file == DISARM) {
        armed = 0;
        return reached;
    }
    return faulty() ? -1 : REAL(write)(file, data, size);
}

#define OPEN(name)                                            \
    int name(const char *path, int flags, ...) {              \
        va_list more;                                         \
        va_start(more, flags);                                \
        const mode_t mode = va_arg(more, mode_t);             \
        va_end(more);                                         \
        return faulty() ? -1 : REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

ssize_t read(int file, void *data, size_t size) { return faulty() ? -1 : REAL(read)(file, data, size); }
int fsync(int file) { return faulty() ? -1 : REAL(fsync)(file); }
int close(int file) { return faulty() ? -1 : REAL(close)(file); }
int chmod(const char *path, mode_t mode) { return faulty() ? -1 : REAL(chmod)(path, mode); }
int rename(const char *from, const char *to) { return faulty() ? -1 : REAL(rename)(from, to); }
int unlink(const char *path) { return faulty() ? -1 : REAL(unlink)(path); }
int ftruncate(int file, off_t length) { return faulty() ? -1 : REAL(ftruncate)(file, length); }
int ftruncate64(int file, off64_t length) { return faulty() ? -1 : REAL(ftruncate64)(file, length); }
