//! `classify export RUN`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use classify::export::{
    Exported, NamedOutput, OnnxOptions, Overwrite, Part, PictureInput, WeightFormat, export_keras, export_npz,
    export_onnx,
};
use command_line::{WeightsArg, choice};
use head::run::Chosen;
use stdio::{invocation, note, output, shell_word};

use super::weights::weights_for;

/// A format of exported files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Onnx,
    Keras,
    Npz,
}

impl Format {
    const ALL: [Self; 3] = [Self::Onnx, Self::Keras, Self::Npz];

    fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Keras => "keras",
            Self::Npz => "npz",
        }
    }
}

/// `classify export RUN`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Run of head train or classify import, or a sweep: then its best setting's head from the first seed that did not
    /// diverge
    run: PathBuf,
    /// File to write; beside model.onnx goes model.golden.npz, with some inputs and what classify answers for them
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// onnx; keras (a .keras archive that takes pictures of the run's size, with values from -1 to 1, and gives
    /// probabilities); npz (numpy arrays of the head, with --head-only)
    #[arg(long, default_value = "onnx", value_parser = choice(&Format::ALL, Format::name))]
    format: Format,
    /// What the ONNX model takes: pixels (uint8 RGB of any size, resized inside as Pillow does it) or keras (float32 of
    /// the run's size, from -1 to 1, as after preprocess_input) [default: pixels]
    #[arg(long, conflicts_with = "head_only", value_parser = choice(&PictureInput::ALL, PictureInput::name))]
    input: Option<PictureInput>,
    /// Leave out the network: the model takes rows of features, as extract computes them
    #[arg(long)]
    head_only: bool,
    /// How the ONNX file stores weights: f32, or f16 in half the space; it computes in f32 [default: f32]
    #[arg(long, value_parser = choice(&WeightFormat::ALL, WeightFormat::name))]
    precision: Option<WeightFormat>,
    /// Name of the ONNX model's input [default: pixels, or features with --head-only]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    input_name: Option<String>,
    /// The ONNX model's outputs in order, each once, separated by commas: logits, probabilities, unfamiliarity;
    /// probabilities=dense_1 names that output dense_1 [default: all that the run has]
    #[arg(long, value_name = "OUTPUTS", value_delimiter = ',')]
    outputs: Vec<NamedOutput>,
    /// Overwrite files that are there already
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    weights: WeightsArg,
}

pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    args.check()?;
    let Chosen { path, run } = Chosen::open(&args.run)?;
    if path != args.run {
        note!("note: the model is {}", path.display());
    }
    let overwrite = if args.replace { Overwrite::Yes } else { Overwrite::No };
    let exported = match args.format {
        Format::Npz => export_npz(&run, &args.out, overwrite)?,
        Format::Keras => export_keras(&run, &weights_for(&path, &args.weights)?, &args.out, overwrite)?,
        Format::Onnx if args.head_only => export_onnx(&run, Part::Head, &args.onnx_options(), &args.out, overwrite)?,
        Format::Onnx => {
            let weights = weights_for(&path, &args.weights)?;
            let part = Part::Whole { weights: &weights, input: args.input.unwrap_or_default() };
            export_onnx(&run, part, &args.onnx_options(), &args.out, overwrite)?
        }
    };
    let trained_in = &run.config.fingerprint.precision;
    if !args.head_only && trained_in != "f32" {
        note!("note: the model computes in f32, the training rows were in {trained_in}");
    }
    print(&exported)?;
    if args.format == Format::Onnx {
        output!("\nnext: {} check-export {}", invocation("classify"), shell_word(&args.out))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl ExportArgs {
    /// Checks that the options fit each other.
    fn check(&self) -> anyhow::Result<()> {
        let Self { format, head_only, input, precision, input_name, outputs, .. } = self;
        let of_onnx = input.is_some() || precision.is_some() || input_name.is_some() || !outputs.is_empty();
        ensure!(
            *format == Format::Onnx || !of_onnx,
            "--input, --precision, --input-name and --outputs are for --format onnx"
        );
        ensure!(*format != Format::Npz || *head_only, "--format npz is of a head alone; add --head-only");
        ensure!(*format != Format::Keras || !*head_only, "--format keras has the network, too; leave out --head-only");
        Ok(())
    }

    fn onnx_options(&self) -> OnnxOptions {
        OnnxOptions {
            input_name: self.input_name.clone(),
            outputs: self.outputs.clone(),
            weights: self.precision.unwrap_or_default(),
        }
    }
}

fn print(exported: &Exported) -> anyhow::Result<()> {
    for (path, bytes) in &exported.files {
        output!("{}: {:.1} MB", path.display(), *bytes as f64 / 1e6)?;
    }
    output!("\nIn Python:\n\n{}", exported.example)?;
    Ok(())
}
