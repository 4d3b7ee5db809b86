//! malloc settings: whether freed memory stays in the process.
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

/// Returns free memory to the operating system: now all of it, such as that of weights that were read and packed, and
/// from now on each large block as soon as it is freed. For long-running processes with limited memory. libtorch's
/// kernels on the CPU are then slower, since every large block that they allocate is faulted in again.
pub fn return_large_blocks() {
    /// The size of a large block in bytes: more than the feature maps of our own kernels, less than a picture of many
    /// megapixels.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    const LARGE: i32 = 4 << 20;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: `mallopt` and `malloc_trim` take integers; they lock what they change.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, i32::MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::malloc_trim(0);
    }
}
