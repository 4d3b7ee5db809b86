//! The real binaries on real files.
