//! malloc settings that keep freed memory in the process, and returning it all the same.
//!
//! libtorch allocates each layer's output anew. By default glibc returns blocks of that size to the kernel when they
//! are freed, and every page of the next block is faulted in again: about a fifth of the run time.

/// Makes malloc keep freed memory. Must be called before any other thread runs.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: `mallopt` takes two integers and may be called at any time; no thread but this one is running yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Returns freed memory to the operating system, such as that of weights that were read and packed.
pub fn release_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: `malloc_trim` takes an integer and may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
