//! The build script of every package that links libtorch: lets its binaries find it without LD_LIBRARY_PATH, and keeps
//! it linked although no Rust code names it.

#[allow(clippy::print_stdout, reason = "cargo reads it")]
fn main() {
    if std::env::var_os("CARGO_FEATURE_LIBTORCH").is_none() {
        return;
    }
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_LIB");
    let is_linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if is_linux {
        // What scripts/install makes has libtorch beside its programs. This comes first: it must not need the checkout.
        println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    }
    let folder = std::env::var("LIBTORCH_LIB").or_else(|_| std::env::var("LIBTORCH"));
    if let Ok(folder) = folder {
        if let Ok(version) = std::fs::read_to_string(format!("{folder}/build-version")) {
            println!("cargo::rustc-env=LINKED_LIBTORCH={}", version.trim());
        }
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}/lib");
    }
    if is_linux {
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg=-ltorch");
    }
}
