//! Keras's files: the pixels it makes of photos, and the weights in each of its formats.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use extract::pixels::{Interpolation, Limits, decode, resize};
use extract::weights::{IMAGENET_DIGEST, LayerKind, Weights, WeightsError, layers, tensors};
use hdf5_pure::{AttrValue, FileBuilder};

/// blake3 of Keras's uint8 pixels of the 18 photos at 150 x 150, one after the other.
const PIXELS: &str = "f91190cc4b210ee005365e25be28b905400bb8d6d699b91b40b2daf0b3aeab98";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data").join(name)
}

#[test]
fn pixels_of_photos_are_kerass() {
    let photos = fs::read_dir(data("kitchenware-photos")).expect("run scripts/setup first");
    let mut photos: Vec<PathBuf> = photos.map(|entry| entry.unwrap().path()).collect();
    photos.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    photos.sort();
    let mut hasher = blake3::Hasher::new();
    for photo in photos {
        let picture = decode(&fs::read(photo).unwrap(), Limits::PILLOW).unwrap();
        let mut pixels = vec![0; 150 * 150 * 3];
        resize(&picture, 150, Interpolation::Nearest, &mut pixels);
        hasher.update(&pixels);
    }
    assert_eq!(hasher.finalize().to_hex().as_str(), PIXELS);
}

fn setup_weights() -> Weights {
    Weights::load(&data("weights/xception.safetensors")).expect("run scripts/setup first")
}

#[test]
fn every_format_gives_the_same_weights() {
    let archive = data("downloads/kitchenware.keras");
    let mut weights = Vec::new();
    let mut opened = zip::ZipArchive::new(Cursor::new(fs::read(&archive).expect("run scripts/setup first"))).unwrap();
    opened.by_name("model.weights.h5").unwrap().read_to_end(&mut weights).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("model.weights.h5");
    fs::write(&bare, weights).unwrap();
    let old = folder.path().join("notop.h5");
    write_old(&old, &setup_weights(), |_, _| true);
    for file in [archive, bare, old, data("weights/xception.safetensors")] {
        let digest = Weights::load(&file).unwrap().digest();
        assert_eq!(digest.to_hex().as_str(), IMAGENET_DIGEST, "{}", file.display());
    }
}

#[test]
fn what_is_missing_extra_or_of_another_shape_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notop.h5");
    let weights = setup_weights();
    write_old(&path, &weights, |layer, tensor| (layer, tensor) != ("block14_sepconv2", "pointwise"));
    let message = Weights::load(&path).unwrap_err().to_string();
    assert!(message.ends_with("missing: block14_sepconv2.pointwise"), "{message}");

    let all: BTreeMap<String, Vec<usize>> = tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let mut views = Vec::new();
    for (name, shape) in &all {
        let values: &[u8] = bytemuck::cast_slice(weights.values(name).unwrap());
        let shape = if name == "block1_conv2.kernel" { vec![3, 3, 64, 32] } else { shape.clone() };
        let name = if name == "block1_conv1_bn.mean" { "mean".to_owned() } else { name.clone() };
        views.push((name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, values).unwrap()));
    }
    let path = folder.path().join("mixed.safetensors");
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let message = Weights::load(&path).unwrap_err().to_string();
    let expected = "missing: block1_conv1_bn.mean; extra: mean; of another shape: block1_conv2.kernel (expected \
                    [3, 3, 32, 64], found [3, 3, 64, 32])";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn a_value_that_is_no_number_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.safetensors");
    let mut bytes = fs::read(data("weights/xception.safetensors")).expect("run scripts/setup first");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = Weights::load(&path).unwrap_err();
    assert!(matches!(error, WeightsError::NotFinite { .. }), "{error}");
}

/// Damaged anywhere, a file gives the weights or an error, and no panic.
#[test]
fn damaged_hdf5_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notop.h5");
    write_old(&path, &setup_weights(), |_, _| true);
    let whole = fs::read(&path).unwrap();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    // The structure, not the values, is what a reader stumbles over: it is in the first and the last bytes.
    for round in 0..16 {
        let mut damaged = whole[..whole.len() - random(4096)].to_vec();
        for _ in 0..8 {
            let place = if round % 2 == 0 { random(2048) } else { damaged.len() - 1 - random(200_000) };
            damaged[place] = random(256) as u8;
        }
        fs::write(&path, damaged).unwrap();
        let _ = Weights::load(&path);
    }
}

/// The layout of Keras 2: layers listed in an attribute of the root, tensors in one of each layer's group. The residual
/// convolutions have the names that Keras gave them by counting.
fn write_old(path: &Path, weights: &Weights, wanted: impl Fn(&str, &str) -> bool) {
    let mut file = FileBuilder::new();
    let (mut names, mut residuals) = (vec!["input_1".to_owned()], 0);
    let mut empty = file.create_group("input_1");
    empty.set_attr("weight_names", AttrValue::StringArray(Vec::new()));
    file.add_group(empty.finish());
    for layer in layers() {
        let residual = layer.name.contains("residual");
        let keras = match layer.kind {
            _ if !residual => layer.name.clone(),
            LayerKind::Norm { .. } => format!("batch_normalization_{}", residuals - 1),
            _ => format!("conv2d_{residuals}"),
        };
        residuals += usize::from(residual && matches!(layer.kind, LayerKind::Convolution { .. }));
        let mut group = file.create_group(&keras);
        let mut inner = group.create_group(&keras);
        let mut tensor_names = Vec::new();
        for (tensor, shape) in layer.kind.tensors() {
            if !wanted(&layer.name, tensor) {
                continue;
            }
            let keras_tensor = match tensor {
                "depthwise" => "depthwise_kernel:0",
                "pointwise" => "pointwise_kernel:0",
                "kernel" => "kernel:0",
                "gamma" => "gamma:0",
                "beta" => "beta:0",
                "mean" => "moving_mean:0",
                _ => "moving_variance:0",
            };
            let values = weights.values(&format!("{}.{tensor}", layer.name)).unwrap();
            let shape: Vec<u64> = shape.iter().map(|&length| length as u64).collect();
            inner.create_dataset(keras_tensor).with_f32_data(values).with_shape(&shape);
            tensor_names.push(format!("{keras}/{keras_tensor}"));
        }
        group.add_group(inner.finish());
        group.set_attr("weight_names", AttrValue::StringArray(tensor_names));
        file.add_group(group.finish());
        names.push(keras);
    }
    file.set_attr("layer_names", AttrValue::StringArray(names));
    fs::write(path, file.finish().unwrap()).unwrap();
}
