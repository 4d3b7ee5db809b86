//! The stages of an extraction, each alone: `cargo bench --package backbone --bench stages`.

mod weights;

use std::fs;
use std::path::Path;

use backbone::network::Network;
use backbone::pixels::{Interpolation, Limits};
use backbone::xception::Xception;
use backbone::{Compute, EmbedSpec, NumberFormat};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use self::weights::weights;

/// Pictures per forward pass.
const BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 32];

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn main() {
    backbone::memory::keep_freed_memory();
    divan::main();
}

/// The 18 photos that scripts/setup fetches.
fn photos() -> Vec<Vec<u8>> {
    let folder = Path::new(WORKSPACE).join("data/kitchenware-photos");
    let entries = fs::read_dir(folder).expect("run scripts/setup first").flatten();
    let jpegs = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "jpg"));
    jpegs.map(|entry| fs::read(entry.path()).expect("a photo")).collect()
}

/// Decoding and resizing 18 photos of 400x600 pixels or so.
#[divan::bench(args = [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Lanczos])]
fn decode_and_resize_18_photos(bencher: Bencher<'_, '_>, interpolation: Interpolation) {
    let photos = photos();
    let preprocess = EmbedSpec { interpolation, ..EmbedSpec::default() }.preprocess(Limits::DEFAULT);
    let mut input = vec![0; preprocess.input_len()];
    bencher.counter(ItemsCount::new(photos.len())).bench_local(|| {
        for photo in &photos {
            let picture = preprocess.decode(photo).expect("a picture");
            preprocess.resize(&picture, None, black_box(&mut input)).expect("a resized picture");
        }
    });
}

fn network(batch: usize, format: NumberFormat) -> Xception {
    let compute = Compute::cpu();
    let engine = compute.engine(compute.precision(format)).expect("a precision that this processor has");
    Xception::new(&weights(), 150, batch, engine).expect("a network")
}

/// One forward pass on one core.
#[divan::bench(args = BATCHES, sample_count = 10)]
fn network_at_150(bencher: Bencher<'_, '_>, batch: usize) {
    forward(bencher, batch, NumberFormat::F32);
}

/// The same in bf16, on processors that have it.
#[divan::bench(args = BATCHES, sample_count = 10, ignore = !has_bf16())]
fn network_at_150_in_bf16(bencher: Bencher<'_, '_>, batch: usize) {
    forward(bencher, batch, NumberFormat::Bf16);
}

fn has_bf16() -> bool {
    let compute = Compute::cpu();
    compute.check(compute.precision(NumberFormat::Bf16)).is_ok()
}

fn forward(bencher: Bencher<'_, '_>, batch: usize, format: NumberFormat) {
    let network = network(batch, format);
    let pixels = vec![128; batch * 150 * 150 * 3];
    bencher.counter(ItemsCount::new(batch)).bench_local(|| network.forward(&pixels).expect("rows"));
}

/// Reading, folding and packing the network's weights, with which each run begins.
#[divan::bench(sample_count = 5)]
fn load_and_pack_weights() -> Xception {
    network(32, NumberFormat::F32)
}
