//! The build script of every package that links libtorch. Binaries find libtorch without LD_LIBRARY_PATH, and the
//! linker keeps it although no Rust code calls it by name.

#[allow(clippy::print_stdout, reason = "cargo reads it")]
fn main() {
    if std::env::var_os("CARGO_FEATURE_LIBTORCH").is_none() {
        return;
    }
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_LIB");
    let is_linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if is_linux {
        // An installation by scripts/install has libtorch in the folder lib next to that of the programs. This path
        // comes first, so that an installation does not depend on the checkout.
        println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    }
    let folder = std::env::var("LIBTORCH_LIB").or_else(|_| std::env::var("LIBTORCH"));
    if let Ok(folder) = folder {
        if let Ok(version) = std::fs::read_to_string(format!("{folder}/build-version")) {
            println!("cargo::rerun-if-changed={folder}/build-version");
            println!("cargo::rustc-env=LINKED_LIBTORCH={}", version.trim());
        }
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}/lib");
    }
    if is_linux {
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg=-ltorch");
    }
}
