//! The peak rate of multiply-adds of this machine's cores, with which the network's speed is compared.
//!
//! Prints GFLOP/s over all cores as JSON: `cargo bench --bench peak`.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};

/// Independent sums: more than the latency of a multiply-add times the number of units, on any x86 processor so far.
const CHAINS: usize = 12;
const STEPS: usize = 20_000_000;
const ROUNDS: usize = 5;

struct MultiplyAdd;

impl WithSimd for MultiplyAdd {
    /// Floating-point operations done.
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let factor = simd.splat_f32s(black_box(0.999));
        let mut sums = [simd.splat_f32s(black_box(1.0)); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = simd.mul_add_f32s(*sum, factor, factor);
            }
        }
        black_box(sums);
        (2 * S::F32_LANES * CHAINS * STEPS) as f64
    }
}

#[allow(clippy::print_stdout)]
fn main() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let round = || {
        let start = Instant::now();
        let operations: f64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| Arch::new().dispatch(MultiplyAdd))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
        });
        operations / start.elapsed().as_secs_f64() / 1e9
    };
    let best = (0..ROUNDS).map(|_| round()).fold(0.0, f64::max);
    println!("{{\"gflops\": {best:.1}, \"cores\": {cores}}}");
}
