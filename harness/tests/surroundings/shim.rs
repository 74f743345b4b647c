//! A library, built by the tests, that makes system calls fail.

use crate::sandbox::skip;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A library that makes system calls fail as `SHIM` says: `flock=N`, `shared=N` and `mmap=N` with that error number,
/// `threads=N` after so many threads.
pub fn shim() -> Option<&'static Path> {
    const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
static int of(const char *name) {
    const char *at = getenv("SHIM");
    if (!at || !(at = strstr(at, name)) || at[strlen(name)] != '=') return -1;
    return atoi(at + strlen(name) + 1);
}
static int refused(int fd, int flags) {
    if (fd < 0) return 0;
    int error = of("mmap");
    if (error < 0 && (flags & MAP_SHARED)) error = of("shared");
    if (error < 0) return 0;
    errno = error;
    return 1;
}
int flock(int fd, int how) {
    static int (*next)(int, int);
    if (of("flock") >= 0) { errno = of("flock"); return -1; }
    if (!next) next = dlsym(RTLD_NEXT, "flock");
    return next(fd, how);
}
void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off_t);
    if (refused(fd, flags)) return MAP_FAILED;
    if (!next) next = dlsym(RTLD_NEXT, "mmap");
    return next(at, n, prot, flags, fd, offset);
}
void *mmap64(void *at, size_t n, int prot, int flags, int fd, off64_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off64_t);
    if (refused(fd, flags)) return MAP_FAILED;
    if (!next) next = dlsym(RTLD_NEXT, "mmap64");
    return next(at, n, prot, flags, fd, offset);
}
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *with) {
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static int started;
    int most = of("threads");
    if (most >= 0 && __sync_fetch_and_add(&started, 1) >= most) return EAGAIN;
    if (!next) next = dlsym(RTLD_NEXT, "pthread_create");
    return next(thread, attr, run, with);
}
"#;
    static BUILT: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (source, library) = (dir.path().join("shim.c"), dir.path().join("shim.so"));
        fs::write(&source, SOURCE).unwrap();
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .status();
        done.is_ok_and(|status| status.success()).then_some((dir, library))
    });
    if built.is_none() {
        skip("there is no C compiler for the shim");
    }
    built.as_ref().map(|(_, library)| library.as_path())
}
