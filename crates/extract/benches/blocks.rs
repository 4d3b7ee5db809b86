//! Where a forward pass spends its time on one core, block by block: `cargo bench --package extract --bench blocks`.
//!
//! Prints a table; what `--bench peak` prints, divided by the cores, is the most that a block could reach.

mod network;

use std::time::Duration;

use extract::arithmetic::Precision;
use extract::pipeline::Network;
use extract::xception::{BLOCKS, multiply_adds};

use self::network::network;

const SIDE: u32 = 150;
const BATCH: usize = 8;
const ROUNDS: usize = 15;

#[allow(clippy::print_stdout)]
fn main() {
    extract::memory::keep();
    let network = network(SIDE, BATCH, Precision::F32);
    let pixels: Vec<f32> =
        (0..BATCH * 3 * (SIDE as usize).pow(2)).map(|k| (k * 31 % 255) as f32 / 127.5 - 1.0).collect();
    network.rows(&pixels).expect("rows");

    let mut rounds: [Vec<Duration>; BLOCKS] = Default::default();
    for _ in 0..ROUNDS {
        let times = network.block_times(&pixels).expect("rows");
        rounds.iter_mut().zip(times).for_each(|(block, time)| block.push(time));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[ROUNDS / 2].as_secs_f64()
    };
    let seconds = rounds.map(median);
    let all: f64 = seconds.iter().sum();
    println!("| block | ms a photo | of the time | GFLOP/s |\n| ---: | ---: | ---: | ---: |");
    let line = |name: &str, seconds: f64, multiply_adds: u64| {
        let (milliseconds, share) = (1e3 * seconds / BATCH as f64, 100.0 * seconds / all);
        let rate = 2e-9 * (BATCH as u64 * multiply_adds) as f64 / seconds;
        println!("| {name} | {milliseconds:.2} | {share:.0} % | {rate:.0} |");
    };
    let multiply_adds = multiply_adds(SIDE);
    for (n, (seconds, multiply_adds)) in seconds.into_iter().zip(multiply_adds).enumerate() {
        line(&(n + 1).to_string(), seconds, multiply_adds);
    }
    line("all", all, multiply_adds.iter().sum());
}
