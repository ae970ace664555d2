/* Records what a process does to the files of one folder: LD_PRELOAD, RECORDED_FOLDER, RECORD.

   A record is: kind (1 byte), length of the path (2), offset (8), length of the data (8), the path,
   the data; numbers as the machine has them. The kinds:
     C  made the file            U  removed it           R  renamed it; the data is the new path
     W  wrote data at offset     T  cut it to offset     S  synced it (a file, or the folder itself)
   Calls are made and recorded one after the other, so that the record has the order in which the
   system did them. What goes through a memory map is not seen: SQLite maps its -shm file only, which
   it makes anew after a crash. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static int record = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
    const char *watched = getenv("RECORDED_FOLDER"), *to = getenv("RECORD");
    if (!watched || !to || !realpath(watched, folder))
        return;
    folder_length = strlen(folder);
    record = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ours(const char *path)
{
    return record >= 0 && !strncmp(path, folder, folder_length) &&
           (path[folder_length] == '/' || !path[folder_length]);
}

static int path_of(int file, char *to)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, to, PATH_MAX - 1);
    to[length < 0 ? 0 : length] = 0;
    return length > 0 && ours(to);
}

static void put(char kind, const char *path, int64_t offset, const void *data, int64_t length)
{
    uint16_t path_length = strlen(path);
    struct iovec parts[] = {{&kind, 1}, {&path_length, 2}, {&offset, 8}, {&length, 8},
                            {(void *)path, path_length}, {(void *)data, length}};
    int saved = errno;
    if (syscall(SYS_writev, record, parts, 6) < 0)
        abort();
    errno = saved;
}

/* Make a call and, where it succeeded on a file of ours, record it. */
#define CALL(type, call, file, kind, at, data, length)                                             \
    do {                                                                                           \
        char path[PATH_MAX];                                                                       \
        if (record < 0 || !path_of(file, path))                                                    \
            return call;                                                                           \
        pthread_mutex_lock(&lock);                                                                 \
        int64_t offset = at;                                                                       \
        type result = call;                                                                        \
        if (result >= 0)                                                                           \
            put(kind, path, offset, data, length);                                                 \
        pthread_mutex_unlock(&lock);                                                               \
        return result;                                                                             \
    } while (0)

ssize_t pwrite(int file, const void *data, size_t length, off_t at)
{
    CALL(ssize_t, REAL(pwrite)(file, data, length, at), file, 'W', at, data, result);
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t at)
{
    CALL(ssize_t, REAL(pwrite64)(file, data, length, at), file, 'W', at, data, result);
}

ssize_t write(int file, const void *data, size_t length)
{
    CALL(ssize_t, REAL(write)(file, data, length), file, 'W', lseek(file, 0, SEEK_CUR), data,
         result);
}

int ftruncate(int file, off_t to)
{
    CALL(int, REAL(ftruncate)(file, to), file, 'T', to, "", 0);
}

int ftruncate64(int file, off64_t to)
{
    CALL(int, REAL(ftruncate64)(file, to), file, 'T', to, "", 0);
}

int fsync(int file)
{
    CALL(int, REAL(fsync)(file), file, 'S', 0, "", 0);
}

int fdatasync(int file)
{
    CALL(int, REAL(fdatasync)(file), file, 'S', 0, "", 0);
}

static int open_at(int at, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    int is_new = record >= 0 && (flags & O_CREAT) && faccessat(at, name, F_OK, 0) != 0;
    int file = syscall(SYS_openat, at, name, flags, mode);
    if (file >= 0 && is_new && path_of(file, path)) {
        pthread_mutex_lock(&lock);
        put('C', path, 0, "", 0);
        pthread_mutex_unlock(&lock);
    }
    return file;
}

#define OPEN(at)                                                                                   \
    va_list rest;                                                                                  \
    va_start(rest, flags);                                                                         \
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;                      \
    va_end(rest);                                                                                  \
    return open_at(at, name, flags, mode)

int open(const char *name, int flags, ...)
{
    OPEN(AT_FDCWD);
}

int open64(const char *name, int flags, ...)
{
    OPEN(AT_FDCWD);
}

int openat(int at, const char *name, int flags, ...)
{
    OPEN(at);
}

int openat64(int at, const char *name, int flags, ...)
{
    OPEN(at);
}

/* The path itself, where its folder is ours; SQLite and Python give whole ones. */
static int resolved(const char *name, char *to)
{
    if (record < 0 || name[0] != '/')
        return 0;
    snprintf(to, PATH_MAX, "%s", name);
    return ours(to);
}

int unlink(const char *name)
{
    char path[PATH_MAX];
    if (!resolved(name, path))
        return REAL(unlink)(name);
    pthread_mutex_lock(&lock);
    int failed = REAL(unlink)(name);
    if (!failed)
        put('U', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return failed;
}

int rename(const char *from, const char *to)
{
    char path[PATH_MAX];
    if (!resolved(from, path))
        return REAL(rename)(from, to);
    pthread_mutex_lock(&lock);
    int failed = REAL(rename)(from, to);
    if (!failed)
        put('R', path, 0, to, strlen(to));
    pthread_mutex_unlock(&lock);
    return failed;
}
