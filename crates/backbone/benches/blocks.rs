//! Where a forward pass spends its time on one core, block by block, with our kernels in each of this processor's
//! vector lengths from 8 values on and with libtorch's: `cargo bench --package backbone --bench blocks`. With `-- WORD`
//! only those whose name has the word, as in `-- bf16`.
//!
//! Prints a table. A block can reach at most the result of `--bench peak` divided by the number of cores, or more where
//! Strassen and Winograd save multiplications, which are counted here.

mod weights;

use std::time::Duration;

use backbone::compute::Engine;
use backbone::network::Network;
#[cfg(feature = "libtorch")]
use backbone::processor;
use backbone::processor::Instructions;
use backbone::xception::{BLOCKS, Xception, multiply_adds};
#[cfg(feature = "libtorch")]
use backbone::{Device, NumberFormat};

use self::weights::weights;

const SIDE: u32 = 150;
const BATCH: usize = 8;
const ROUNDS: usize = 15;

/// One of the networks that are compared.
struct Candidate {
    network: Xception,
    /// The times of each block for a batch, one for each round.
    times: [Vec<Duration>; BLOCKS],
}

impl Candidate {
    /// Median time of a block for one photo, in seconds.
    fn seconds(&self, block: usize) -> f64 {
        let mut times = self.times[block].clone();
        times.sort();
        times[times.len() / 2].as_secs_f64() / BATCH as f64
    }
}

/// Our own kernels with each vector length of 8 or more values, and libtorch's if it is linked.
fn engines() -> Vec<Engine> {
    let mut engines: Vec<Engine> = Vec::new();
    for instructions in Instructions::available() {
        if !matches!(instructions, Instructions::F32(simd) if simd.lanes() < 8) {
            engines.push(Engine::Own(instructions));
        }
    }
    #[cfg(feature = "libtorch")]
    engines.push(Engine::Libtorch(Device::Cpu, NumberFormat::F32));
    #[cfg(feature = "libtorch")]
    if processor::has_bf16() {
        engines.push(Engine::Libtorch(Device::Cpu, NumberFormat::Bf16));
    }
    engines
}

#[allow(clippy::print_stdout)]
fn main() {
    backbone::memory::keep_freed_memory();
    let weights = weights();
    let pixels: Vec<u8> = (0..BATCH * 3 * (SIDE as usize).pow(2)).map(|k| (k * 31 % 255) as u8).collect();
    // Cargo adds options of its own.
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut candidates = Vec::new();
    for engine in engines() {
        let network = Xception::new(&weights, SIDE, BATCH, engine).expect("a network");
        if !network.kernels().contains(&word) {
            continue;
        }
        // The first batch allocates the memory that the others reuse.
        network.forward(&pixels).expect("rows");
        candidates.push(Candidate { network, times: Default::default() });
    }
    // In turn, so that a busy machine slows all of them.
    for _ in 0..ROUNDS {
        for Candidate { network, times } in &mut candidates {
            let round = network.block_times(&pixels).expect("rows");
            for (times, time) in times.iter_mut().zip(round) {
                times.push(time);
            }
        }
    }

    let mut header = "| block |".to_owned();
    let mut rule = "| ---: |".to_owned();
    for Candidate { network, .. } in &candidates {
        header += &format!(" {}: ms a photo | GFLOP/s |", network.kernels());
        rule += " ---: | ---: |";
    }
    println!("{header}\n{rule}");
    let multiply_adds = multiply_adds(SIDE);
    for (block, &block_multiply_adds) in multiply_adds.iter().enumerate() {
        print_row(&(block + 1).to_string(), &candidates, block..block + 1, block_multiply_adds);
    }
    print_row("all", &candidates, 0..BLOCKS, multiply_adds.iter().sum());
}

/// Prints the time that each candidate takes for these blocks and a photo, and its speed.
#[allow(clippy::print_stdout)]
fn print_row(name: &str, candidates: &[Candidate], blocks: std::ops::Range<usize>, multiply_adds: u64) {
    let mut row = format!("| {name} |");
    for candidate in candidates {
        let seconds: f64 = blocks.clone().map(|block| candidate.seconds(block)).sum();
        row += &format!(" {:.2} | {:.0} |", 1e3 * seconds, 2e-9 * multiply_adds as f64 / seconds);
    }
    println!("{row}");
}
