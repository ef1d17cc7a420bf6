/* Preloaded into the program by tests/faults: makes system calls on chosen files fail, hang, crawl or
 * change the file.
 *
 * FAULT holds rules, separated by ';':   call ',' part of the path ',' offset ',' action
 * call is open, read, pread, mmap, write or pwrite; a rule applies from that offset of the file on (for an
 * anonymous mmap, path "anon": from that length on; for read and write: after that many bytes of the
 * file descriptor's calls).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) (real_##name = real_##name ? real_##name : dlsym(RTLD_NEXT, #name))

static ssize_t (*real_pread64)(int, void *, size_t, off_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off_t);
static int (*real_open64)(const char *, int, ...);
static void *(*real_mmap64)(void *, size_t, int, int, int, off_t);

struct rule { char call[8], path[128], action[16]; unsigned long long offset; };
static struct rule rules[8];
static int rule_count = -1;

static void parse(void) {
    rule_count = 0;
    const char *text = getenv("FAULT");
    for (; text && *text && rule_count < 8; rule_count++) {
        struct rule *r = &rules[rule_count];
        if (sscanf(text, "%7[^,],%127[^,],%llu,%15[^;]", r->call, r->path, &r->offset, r->action) != 4) {
            dprintf(2, "interpose: cannot read %s\n", text);
            _exit(99);
        }
        text = strchr(text, ';');
        if (!text) { rule_count++; return; }
        text++;
    }
}

static const struct rule *rule_for(const char *call, const char *path, unsigned long long end) {
    if (rule_count < 0) parse();
    for (int i = 0; i < rule_count; i++)
        if (!strcmp(rules[i].call, call) && strstr(path, rules[i].path) && end > rules[i].offset) return &rules[i];
    return NULL;
}

static const char *path_of(int fd, char *buffer, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, buffer, size - 1);
    buffer[n > 0 ? n : 0] = 0;
    return buffer;
}

/* 0: go on with the real call. -1: fail with errno. 1: end of file. */
static int act(const struct rule *r, const char *path, size_t *count) {
    if (!r) return 0;
    if (!strcmp(r->action, "hang")) for (;;) pause();
    if (!strcmp(r->action, "eof")) return 1;
    if (!strcmp(r->action, "short")) { if (*count > 4097) *count = 4097; return 0; }
    if (!strcmp(r->action, "slow")) {
        if (*count > 65536) *count = 65536;
        usleep(*count * 1000000 / 1048576);
        return 0;
    }
    static int paused;
    if (!strcmp(r->action, "pause")) { if (!paused++) sleep(3); return 0; }
    if (!strcmp(r->action, "truncate")) { if (truncate(path, 4096)) _exit(98); return 0; }
    if (!strcmp(r->action, "replace")) {
        char other[4096];
        snprintf(other, sizeof other, "%s.other", path);
        rename(other, path);
        return 0;
    }
    if (!strcmp(r->action, "touch")) {
        int fd = REAL(open64)(path, O_WRONLY);
        if (fd < 0 || REAL(write)(fd, "x", 1) != 1) _exit(97);
        close(fd);
        return 0;
    }
    static int interrupted;
    if (!strcmp(r->action, "eintr")) { if (interrupted++ % 2) return 0; errno = EINTR; return -1; }
    errno = !strcmp(r->action, "eio") ? EIO : !strcmp(r->action, "estale") ? ESTALE : !strcmp(r->action, "enospc") ? ENOSPC
          : !strcmp(r->action, "eacces") ? EACCES : !strcmp(r->action, "erofs") ? EROFS : !strcmp(r->action, "enomem") ? ENOMEM
          : !strcmp(r->action, "edquot") ? EDQUOT : !strcmp(r->action, "emfile") ? EMFILE : EINVAL;
    return -1;
}

ssize_t pread64(int fd, void *to, size_t count, off_t offset) {
    char path[4096];
    REAL(pread64); REAL(write);
    int what = act(rule_for("pread", path_of(fd, path, sizeof path), offset + count), path, &count);
    return what < 0 ? -1 : what ? 0 : real_pread64(fd, to, count, offset);
}
ssize_t pread(int fd, void *to, size_t count, off_t offset) { return pread64(fd, to, count, offset); }

ssize_t pwrite64(int fd, const void *from, size_t count, off_t offset) {
    char path[4096];
    REAL(pwrite64);
    int what = act(rule_for("pwrite", path_of(fd, path, sizeof path), offset + count), path, &count);
    return what < 0 ? -1 : real_pwrite64(fd, from, count, offset);
}
ssize_t pwrite(int fd, const void *from, size_t count, off_t offset) { return pwrite64(fd, from, count, offset); }

ssize_t read(int fd, void *to, size_t count) {
    char path[4096];
    REAL(read);
    off_t at = lseek(fd, 0, SEEK_CUR);
    int what = act(rule_for("read", path_of(fd, path, sizeof path), (at < 0 ? 0 : at) + count), path, &count);
    return what < 0 ? -1 : what ? 0 : real_read(fd, to, count);
}

ssize_t write(int fd, const void *from, size_t count) {
    char path[4096];
    REAL(write);
    off_t at = lseek(fd, 0, SEEK_CUR);
    int what = act(rule_for("write", path_of(fd, path, sizeof path), (at < 0 ? 0 : at) + count), path, &count);
    return what < 0 ? -1 : real_write(fd, from, count);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    REAL(open64);
    size_t none = 0;
    int what = act(rule_for("open", path, 1), path, &none);
    if (!what && (flags & (O_CREAT | O_WRONLY | O_RDWR))) what = act(rule_for("create", path, 1), path, &none);
    return what < 0 ? -1 : real_open64(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return open64(path, flags, mode);
}

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    char path[4096] = "anon";
    REAL(mmap64);
    const struct rule *r = rule_for("mmap", fd >= 0 ? path_of(fd, path, sizeof path) : path, length);
    if (r && !strcmp(r->action, "truncate")) {
        void *where = real_mmap64(at, length, protection, flags, fd, offset);
        if (truncate(path, 4096)) _exit(98);
        return where;
    }
    return act(r, path, &length) < 0 ? MAP_FAILED : real_mmap64(at, length, protection, flags, fd, offset);
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap64(at, length, protection, flags, fd, offset);
}
