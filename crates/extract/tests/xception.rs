//! The network with the ImageNet weights, against what Keras computes.
use extract::weights::Weights;
use extract::xception::Xception;
use tch::Device;
#[test]
fn scratch() {
    let t = std::time::Instant::now();
    let weights = Weights::load("/tmp/x.st.safetensors".as_ref()).unwrap();
    eprintln!("load {:?} digest {}", t.elapsed(), weights.digest());
    tch::set_num_threads(1);
    let refs: ndarray::Array2<f32> =
        ndarray_npy::read_npy("../../../shared/reference/kitchenware_features.npy").unwrap();
    let pixels: ndarray::Array4<u8> =
        ndarray_npy::read_npy("../../../shared/reference/kitchenware_pixels_nearest_150.npy").unwrap();
    let all = extract::pixels::scale(pixels.as_slice().unwrap());
    let one = 150 * 150 * 3;
    let mut outs: Vec<Vec<f32>> = vec![];
    for batch in [1usize, 2, 6, 9, 18] {
        let t = std::time::Instant::now();
        let net = Xception::new(&weights, 150, batch, Device::Cpu).unwrap();
        let built = t.elapsed();
        let mut rows: Vec<f32> = vec![];
        let t = std::time::Instant::now();
        for chunk in all.chunks(batch * one) {
            rows.extend(net.features(chunk).unwrap());
        }
        let e = t.elapsed();
        let t = std::time::Instant::now();
        for chunk in all.chunks(batch * one) {
            net.features(chunk).unwrap();
        }
        let num: f64 = rows.iter().zip(refs.iter()).map(|(a, b)| ((a - b) as f64).powi(2)).sum::<f64>().sqrt();
        let den: f64 = refs.iter().map(|b| (*b as f64).powi(2)).sum::<f64>().sqrt();
        eprintln!(
            "batch {batch} built {built:?} first {e:?} second {:?} ({:.1} img/s) rel l2 {:e}",
            t.elapsed(),
            18.0 / t.elapsed().as_secs_f64(),
            num / den
        );
        outs.push(rows);
    }
    for o in &outs {
        let d = o.iter().zip(&outs[0]).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        let m = o.iter().zip(&outs[0]).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        eprintln!("differs {d} max {m:e}");
    }
}
