//! `classify import MODEL`.

use std::path::PathBuf;
use std::process::ExitCode;

use backbone::pixels::Interpolation;
use clap::Args;
use classify::import::{BACKBONE, ImportOptions, Imported};
use command_line::choice;
use head::run::check_free;
use stdio::{invocation, note, output, shell_word};

/// `classify import MODEL`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Model that Keras saved: a .keras archive, or a .h5 file with the whole model. Xception without its top, global
    /// average pooling, dense layers with relu and dropout; logits or softmax
    model: PathBuf,
    /// Names of the classes in the order of the model's outputs, separated by commas; flow_from_directory has them sorted
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true, value_parser = class_name)]
    classes: Vec<String>,
    /// Folder of the new run
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Side in pixels to which the model's photos were resized; needed only if its input takes any size [default: the
    /// input's]
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
    /// How photos were resized for the model, as Pillow does it: load_img and flow_from_directory take nearest
    #[arg(long, default_value = "nearest", value_parser = choice(&Interpolation::ALL, Interpolation::name))]
    interpolation: Interpolation,
}

fn class_name(value: &str) -> Result<String, String> {
    let name = value.trim();
    if name.is_empty() { Err("a class without a name".to_owned()) } else { Ok(name.to_owned()) }
}

pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let ImportArgs { model, classes, out, size, interpolation } = args;
    let options = ImportOptions { classes: classes.clone(), side: *size, interpolation: *interpolation };
    check_free(out)?;
    let imported = Imported::read(model, &options)?;
    imported.save(out)?;

    if !classes.is_sorted() {
        note!("note: the classes are taken in the order given, which is not sorted; flow_from_directory sorts them");
    }
    let fingerprint = &imported.run.config.fingerprint;
    let (side, scaling) = (fingerprint.size, &fingerprint.scaling);
    let scaled_by = if imported.scales { "by the model" } else { "before the model, as preprocess_input does" };
    output!("input    {side} x {side} pixels, {interpolation}, {scaling} {scaled_by}")?;
    output!("layers   Xception without its top, {}", imported.summary.join(", "))?;
    output!("classes  {}", classes.join(", "))?;
    let (digest, run) = (&fingerprint.weights, out.display());
    if imported.is_imagenet() {
        output!("weights  Keras's ImageNet weights, {digest}")?;
        output!("run in {run}: config.json, head.safetensors")?;
    } else {
        output!("weights  fine-tuned, {digest}")?;
        output!("run in {run}: config.json, head.safetensors, {BACKBONE}")?;
    }
    output!("\nnext: {} {} PHOTO…", invocation("classify"), shell_word(out))?;
    Ok(ExitCode::SUCCESS)
}
