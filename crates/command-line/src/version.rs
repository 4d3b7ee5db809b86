//! What `--version` says.

use backbone::libtorch;
use backbone::weights::IMAGENET_DIGEST;

/// The version, the libtorch that the program is linked with, and the digest of the weights that it is made for.
pub fn long_version() -> &'static str {
    let libtorch = libtorch().map_or("none (icebox's own kernels alone)", |libtorch| libtorch.version);
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("{version}\nlibtorch {libtorch}\nweights  blake3 {IMAGENET_DIGEST} (Keras's, for ImageNet)");
    // clap takes a `&'static str`. This is called once in a process.
    text.leak()
}
