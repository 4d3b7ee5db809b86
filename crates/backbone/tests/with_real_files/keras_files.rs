//! Keras's pixels of photos, and weights in each of Keras's formats.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::sync::LazyLock;

use backbone::EmbedSpec;
use backbone::pixels::Limits;
use backbone::weights::{IMAGENET_DIGEST, LayerKind, Weights, WeightsError, layers, tensors};
use end_to_end::mangled;
use hdf5_pure::{AttrValue, FileBuilder};
use proptest::prelude::*;

use super::{data, photos, weights};

/// blake3 of Keras's uint8 pixels of the 18 photos at 150 x 150, one after the other.
const PIXELS: &str = "f91190cc4b210ee005365e25be28b905400bb8d6d699b91b40b2daf0b3aeab98";

/// blake3 of Pillow's pixels of the 18 photos at 71 x 71 after `draft("RGB", (71, 71))`, one after the other.
const DRAFTS: &str = "8cbf6f4ff17bb0a526b6be6b47ee146a970012e7da97aa6dba251aa2d82d4ffc";

/// blake3 of the 18 photos' pixels, in the order of their names.
fn digest_of_photos(side: u32, fast_decode: bool) -> String {
    let preprocess = EmbedSpec { side, fast_decode, ..EmbedSpec::default() }.preprocess(Limits::DEFAULT);
    let mut hasher = blake3::Hasher::new();
    for photo in photos() {
        let picture = preprocess.decode(&fs::read(photo).unwrap()).unwrap();
        let mut pixels = vec![0; preprocess.input_len()];
        preprocess.resize(&picture, None, &mut pixels).unwrap();
        hasher.update(&pixels);
    }
    hasher.finalize().to_hex().to_string()
}

#[test]
fn pixels_match_keras() {
    assert_eq!(digest_of_photos(150, false), PIXELS);
}

#[test]
fn pixels_that_are_scaled_while_decoding_are_those_of_pillows_draft() {
    assert_eq!(digest_of_photos(71, true), DRAFTS);
    // No photo has twice 599 pixels in width and height, so none is scaled down.
    assert_eq!(digest_of_photos(599, true), digest_of_photos(599, false));
}

#[test]
fn every_format_gives_the_same_weights() {
    let archive = data("downloads/kitchenware.keras");
    let mut bytes = Vec::new();
    let mut opened = zip::ZipArchive::new(Cursor::new(fs::read(&archive).expect("run scripts/setup first"))).unwrap();
    opened.by_name("model.weights.h5").unwrap().read_to_end(&mut bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("model.weights.h5");
    fs::write(&bare, bytes).unwrap();
    let old = folder.path().join("notop.h5");
    write_keras_2(&old, &weights(), |_, _| true);
    for file in [archive, bare, old, data("weights/xception.safetensors")] {
        let digest = Weights::load(&file).unwrap().digest();
        assert_eq!(digest.to_hex().as_str(), IMAGENET_DIGEST, "{}", file.display());
    }
}

#[test]
fn what_is_missing_extra_or_of_another_shape_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notop.h5");
    let weights = weights();
    write_keras_2(&path, &weights, |layer, tensor| (layer, tensor) != ("block14_sepconv2", "pointwise"));
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
fn a_value_that_is_not_a_number_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.safetensors");
    let mut bytes = fs::read(data("weights/xception.safetensors")).expect("run scripts/setup first");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = Weights::load(&path).unwrap_err();
    assert!(matches!(error, WeightsError::NotFinite { .. }), "{error}");
}

/// A small file of each format with the names of a few of the network's tensors, in the order of [`FORMATS`].
static SMALL_FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let values = [1.0f32; 6];
    let shape = [2, 3];
    let mut keras_2 = FileBuilder::new();
    let mut group = keras_2.create_group("block1_conv1");
    let mut inner = group.create_group("block1_conv1");
    inner.create_dataset("kernel:0").with_f32_data(&values).with_shape(&shape);
    group.add_group(inner.finish());
    group.set_attr("weight_names", AttrValue::StringArray(vec!["block1_conv1/kernel:0".to_owned()]));
    keras_2.add_group(group.finish());
    keras_2.set_attr("layer_names", AttrValue::StringArray(vec!["block1_conv1".to_owned()]));

    let mut keras_3 = FileBuilder::new();
    let mut layers = keras_3.create_group("layers");
    for name in ["conv2d", "separable_conv2d"] {
        let mut layer = layers.create_group(name);
        let mut vars = layer.create_group("vars");
        vars.create_dataset("0").with_f32_data(&values).with_shape(&shape);
        layer.add_group(vars.finish());
        layers.add_group(layer.finish());
    }
    keras_3.add_group(layers.finish());
    let keras_3 = keras_3.finish().unwrap();

    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file("model.weights.h5", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(&keras_3).unwrap();

    let values: &[u8] = bytemuck::cast_slice(&values);
    let tensor = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2, 3], values).unwrap();
    let safetensors = safetensors::serialize([("block1_conv1.kernel", tensor)], None).unwrap();
    vec![keras_2.finish().unwrap(), keras_3, archive.finish().unwrap().into_inner(), safetensors]
});

const FORMATS: [&str; 4] = ["notop.h5", "model.weights.h5", "model.keras", "xception.safetensors"];

#[test]
fn tensors_of_another_shape_are_reported_in_each_format() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in FORMATS.iter().zip(&*SMALL_FILES) {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = Weights::load(&path).unwrap_err().to_string();
        assert!(message.contains("block1_conv1.kernel (expected [3, 3, 3, 32], found [2, 3])"), "{name}: {message}");
    }
}

#[test]
fn safetensors_are_recognised_by_their_name_in_any_case() {
    for name in ["xception.safetensors", "XCEPTION.SAFETENSORS", "xception.SafeTensors"] {
        let message = Weights::from_bytes(Path::new(name), &SMALL_FILES[3]).unwrap_err().to_string();
        assert!(message.contains("block1_conv1.kernel (expected [3, 3, 3, 32], found [2, 3])"), "{message}");
    }
}

/// Such a file was read in the layout of Keras 3, and every tensor was missing.
#[test]
fn layer_names_that_cannot_be_read_are_named() {
    let many: Vec<String> = (0..1001).map(|k| format!("layer_{k}")).collect();
    for (names, problem) in [
        (AttrValue::StringArray(many), "layer_names: resource limit: 1001 names in an attribute"),
        (AttrValue::F64(1.0), "layer_names: type mismatch: expected String array"),
    ] {
        let mut file = FileBuilder::new();
        file.set_attr("layer_names", names);
        let error = Weights::from_bytes(Path::new("notop.h5"), &file.finish().unwrap()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

proptest! {
    /// More cases: `PROPTEST_CASES=1000000 cargo test --release --package backbone mangled`.
    #[test]
    fn mangled_weights_are_an_error(
        (format, bytes) in (0..FORMATS.len()).prop_flat_map(|k| (Just(k), mangled(SMALL_FILES[k].clone()))),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FORMATS[format]);
        fs::write(&path, bytes).unwrap();
        prop_assert!(Weights::load(&path).is_err());
    }
}

/// Writes the `wanted` tensors in the layout of Keras 2: an attribute of the root lists the layers, an attribute of
/// each layer's group its tensors. The residual convolutions have numbered names.
fn write_keras_2(path: &Path, weights: &Weights, wanted: impl Fn(&str, &str) -> bool) {
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
