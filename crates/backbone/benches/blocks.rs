//! Where a forward pass spends its time on one core, block by block, with our kernels and with libtorch's:
//! `cargo bench --package backbone --bench blocks`.
//!
//! Prints a table. What `--bench peak` prints, divided by the cores, is the most that a block could reach, but for the
//! multiplications that our kernels do without.

mod weights;

use std::time::Duration;

use backbone::network::Network;
use backbone::xception::{BLOCKS, Xception, multiply_adds};
use backbone::{Compute, Kernels, Precision};

use self::weights::weights;

const SIDE: u32 = 150;
const BATCH: usize = 8;
const ROUNDS: usize = 15;

#[allow(clippy::print_stdout)]
fn main() {
    backbone::memory::keep();
    let weights = weights();
    let networks = [Kernels::Own, Kernels::Libtorch].map(|kernels| {
        let engine = Compute { kernels, ..Compute::cpu() }.engine(Precision::F32).expect("f32 on the CPU");
        Xception::new(&weights, SIDE, BATCH, engine).expect("a network")
    });
    let pixels: Vec<u8> = (0..BATCH * 3 * (SIDE as usize).pow(2)).map(|k| (k * 31 % 255) as u8).collect();
    for network in &networks {
        network.forward(&pixels).expect("rows");
    }

    let mut rounds: [[Vec<Duration>; BLOCKS]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (network, rounds) in networks.iter().zip(&mut rounds) {
            let times = network.block_times(&pixels).expect("rows");
            rounds.iter_mut().zip(times).for_each(|(block, time)| block.push(time));
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[ROUNDS / 2].as_secs_f64()
    };
    let seconds = rounds.map(|blocks| blocks.map(median));
    let all = seconds.map(|blocks| blocks.iter().sum::<f64>());
    println!("| block | ours: ms a photo | of the time | GFLOP/s | libtorch's: ms a photo | GFLOP/s |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    let line = |name: &str, [ours, libtorchs]: [f64; 2], multiply_adds: u64| {
        let milliseconds = |seconds: f64| 1e3 * seconds / BATCH as f64;
        let rate = |seconds: f64| 2e-9 * (BATCH as u64 * multiply_adds) as f64 / seconds;
        let share = 100.0 * ours / all[0];
        let (ours, libtorchs) = ((milliseconds(ours), rate(ours)), (milliseconds(libtorchs), rate(libtorchs)));
        println!("| {name} | {:.2} | {share:.0} % | {:.0} | {:.2} | {:.0} |", ours.0, ours.1, libtorchs.0, libtorchs.1);
    };
    let multiply_adds = multiply_adds(SIDE);
    for (n, multiply_adds) in multiply_adds.into_iter().enumerate() {
        line(&(n + 1).to_string(), [seconds[0][n], seconds[1][n]], multiply_adds);
    }
    line("all", all, multiply_adds.iter().sum());
}
