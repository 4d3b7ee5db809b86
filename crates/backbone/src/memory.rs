//! Memory that stays with the process.
//!
//! libtorch allocates every layer's output anew. glibc gives blocks of that size back to the kernel at once and has
//! them faulted in again, page by page, for the next layer: about a fifth of the run time.

/// Has malloc keep what it once got. To be called before the first tensor.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: `mallopt` takes two integers and may be called at any time; no thread but this one is running yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
