/* Counts what a process does to files below one folder, and lets one such call kill it, stop it or fail.

Preloaded, and inert until trainmaster_fault() is called; a process that it starts is never touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum way { COUNT, KILL, TEAR, TERM, FAIL, SHORT, HALT, FLAKY };
enum kind { GROWS = 1, CHANGES = 2 };

static char root[1024], tells[1024];
static long passed, first, last, burst;
static unsigned seed;
static char before[1100];
static int armed, way, error_no, kinds, log_fd = -1;

/* Calls first..last of the given kinds suffer; the log gets a line for each call. */
void trainmaster_fault(const char *folder, const char *log, int how, int number, int what, long from, long to)
{
    strncpy(root, folder, sizeof root - 1);
    log_fd = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    way = how; error_no = number; kinds = what; first = from; last = to; passed = 0; burst = 0;
    seed = (unsigned)from;
    armed = 1;
}

static int below(const char *path)
{
    char full[2048];
    if (!path) return 0;
    if (path[0] != '/') {
        if (!getcwd(full, sizeof full / 2)) return 0;
        strcat(full, "/"); strncat(full, path, 900);
        path = full;
    }
    return !strncmp(path, root, strlen(root));
}

static int of_descriptor(int fd)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, tells, sizeof tells - 1);
    if (length <= 0) return 0;
    tells[length] = 0;
    return below(tells);
}

/* 0: go on; 1: fail with errno; 2: write half; 3: write half and die; 4: write half, halt, write the rest. */
static int point(const char *op, const char *path, long bytes, int kind)
{
    char line[1400];
    if (!(kind & kinds)) return 0;
    passed++;
    if (log_fd >= 0) {
        int length = snprintf(line, sizeof line, "%ld\t%s\t%s\t%ld\n", passed, op, path + strlen(root), bytes);
        ssize_t (*plain)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        if (plain(log_fd, line, length) < 0) return 0;
    }
    if (way == HALT) {
        char now[1100];
        snprintf(now, sizeof now, "%s %s", op, path);
        burst = strcmp(now, before) ? 0 : burst + 1;
        strcpy(before, now);
        int many = strstr(path, ".log") ? burst > 0 : burst > 1 && burst != 600;
        if (many) return 0;
        kill(getpid(), SIGSTOP);
        return bytes > 1 && !strcmp(op, "write") && burst == 0 ? 4 : 0;
    }
    if (way == FLAKY) { /* one call in `last` fails, of a thousand writes in a row one */
        char now[1100];
        snprintf(now, sizeof now, "%s %s", op, path);
        burst = strcmp(now, before) ? 0 : burst + 1;
        strcpy(before, now);
        if (rand_r(&seed) % (burst ? 1000 * last : last)) return 0;
        errno = error_no;
        return bytes > 1 && rand_r(&seed) % 2 ? 2 : 1;
    }
    if (passed < first || passed > last) return 0;
    switch (way) {
    case KILL: kill(getpid(), SIGKILL); return 0;
    case TEAR: if (bytes > 1) return 3; kill(getpid(), SIGKILL); return 0;
    case TERM: kill(getpid(), SIGTERM); return 0;
    case FAIL: errno = error_no; return 1;
    case SHORT: errno = error_no; return bytes > 1 && passed == first ? 2 : 1;
    default: return 0;
    }
}

#define REAL(name) static typeof(name) *real; if (!real) real = (typeof(real))dlsym(RTLD_NEXT, #name)
#define ASK(op, path, kind) if (armed && below(path) && point(op, path, 0, kind)) return -1

static ssize_t written(int fd, const void *data, size_t size, int what, ssize_t (*real)(int, const void *, size_t))
{
    if (what == 1) return -1;
    ssize_t half = real(fd, data, size / 2);
    if (what == 3) kill(getpid(), SIGKILL);
    if (what == 4) {
        kill(getpid(), SIGSTOP);
        ssize_t rest = real(fd, (const char *)data + half, size - half);
        return rest < 0 ? rest : half + rest;
    }
    return half;
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    if (armed && fd != log_fd && of_descriptor(fd)) {
        int what = point("write", tells, size, GROWS | CHANGES);
        if (what) return written(fd, data, size, what, real);
    }
    return real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    if (armed && of_descriptor(fd)) {
        int what = point("writev", tells, count ? parts[0].iov_len : 0, GROWS | CHANGES);
        if (what == 1) return -1;
        if (what) return written(fd, parts[0].iov_base, parts[0].iov_len, what, write);
    }
    return real(fd, parts, count);
}

#define PWRITE(name, offset) ssize_t name(int fd, const void *data, size_t size, offset at) { \
    REAL(name); if (armed && of_descriptor(fd) && point("pwrite", tells, 1, GROWS | CHANGES)) return -1; \
    return real(fd, data, size, at); }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define OPENS(name, first_args, first_names, at) int name first_args { \
    static int (*real)(); if (!real) real = (int (*)())dlsym(RTLD_NEXT, #name); \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
    if (armed && (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && below(path)) { \
        struct stat found; int makes = (flags & O_CREAT) && stat(path, &found) != 0; \
        if (point(makes ? "create" : flags & O_TRUNC ? "empty" : "open", path, 0, makes ? GROWS | CHANGES : CHANGES)) return -1; } \
    return at; }
OPENS(open, (const char *path, int flags, ...), , real(path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), , real(path, flags, mode))
OPENS(openat, (int folder, const char *path, int flags, ...), , real(folder, path, flags, mode))
OPENS(openat64, (int folder, const char *path, int flags, ...), , real(folder, path, flags, mode))

#define FOPEN(name) FILE *name(const char *path, const char *mode) { \
    REAL(name); if (armed && mode[0] != 'r' && below(path) && point("fopen", path, 0, GROWS | CHANGES)) return NULL; \
    return real(path, mode); }
FOPEN(fopen)
FOPEN(fopen64)

int rename(const char *from, const char *to) { REAL(rename); ASK("rename", to, CHANGES); return real(from, to); }
int renameat(int a, const char *from, int b, const char *to) { REAL(renameat); ASK("rename", to, CHANGES); return real(a, from, b, to); }
int unlink(const char *path) { REAL(unlink); ASK("unlink", path, CHANGES); return real(path); }
int unlinkat(int a, const char *path, int flags) { REAL(unlinkat); ASK("unlink", path, CHANGES); return real(a, path, flags); }
int rmdir(const char *path) { REAL(rmdir); ASK("rmdir", path, CHANGES); return real(path); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); ASK("mkdir", path, GROWS | CHANGES); return real(path, mode); }
int chmod(const char *path, mode_t mode) { REAL(chmod); ASK("chmod", path, CHANGES); return real(path, mode); }
int fchmodat(int a, const char *path, mode_t mode, int f) { REAL(fchmodat); ASK("chmod", path, CHANGES); return real(a, path, mode, f); }
int truncate(const char *path, off_t size) { REAL(truncate); ASK("truncate", path, CHANGES); return real(path, size); }
int truncate64(const char *path, off64_t size) { REAL(truncate64); ASK("truncate", path, CHANGES); return real(path, size); }
int utimensat(int a, const char *path, const struct timespec t[2], int f) { REAL(utimensat); ASK("utime", path, CHANGES); return real(a, path, t, f); }
int link(const char *from, const char *to) { REAL(link); ASK("link", to, GROWS | CHANGES); return real(from, to); }
int fsync(int fd) { REAL(fsync); if (armed && of_descriptor(fd) && point("fsync", tells, 0, GROWS | CHANGES)) return -1; return real(fd); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); if (armed && of_descriptor(fd) && point("ftruncate", tells, 0, CHANGES)) return -1; return real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); if (armed && of_descriptor(fd) && point("ftruncate", tells, 0, CHANGES)) return -1; return real(fd, size); }

#define SENDFILE(name, offset) ssize_t name(int to, int from, offset *at, size_t size) { \
    REAL(name); if (armed && of_descriptor(to) && point("sendfile", tells, 0, GROWS | CHANGES)) return -1; \
    return real(to, from, at, size); }
#include <sys/sendfile.h>
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)
