//! `classify check-export MODEL`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use classify::export::{Checked, CheckedOutput, check_onnx, golden_path};
use head::text::table;
use stdio::{note, output};

/// `classify check-export MODEL`.
#[derive(Debug, Args)]
pub struct CheckExportArgs {
    /// ONNX file that classify export has written
    model: PathBuf,
    /// File with the inputs and classify's answers [default: model.golden.npz for model.onnx]
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Python interpreter with onnxruntime and numpy, and with onnx to check the file's form
    #[arg(long, value_name = "FILE", env = "ICEBOX_PYTHON", default_value_os_t = default_python())]
    python: PathBuf,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

/// The interpreter that scripts/setup --peers makes, or else the one on the PATH.
fn default_python() -> PathBuf {
    let peers = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/python-peers/bin/python"));
    // The interpreter finds its packages beside its own path, so links in that are kept.
    if peers.is_file() { peers.to_owned() } else { PathBuf::from("python3") }
}

pub fn run(args: &CheckExportArgs) -> anyhow::Result<ExitCode> {
    let golden = args.golden.clone().unwrap_or_else(|| golden_path(&args.model));
    let checked = check_onnx(&args.python, &args.model, &golden)?;
    if args.json {
        output!("{}", serde_json::to_string(&checked)?)?;
    } else {
        print(&args.model, &checked)?;
    }
    if checked.is_right() {
        return Ok(ExitCode::SUCCESS);
    }
    note!("error: {}: its answers are not those of classify", args.model.display());
    Ok(ExitCode::FAILURE)
}

fn print(model: &Path, checked: &Checked) -> anyhow::Result<()> {
    let Checked { onnxruntime, checker, inputs, same_class, outputs } = checked;
    output!("{}: {inputs} inputs through ONNX Runtime {onnxruntime}", model.display())?;
    match checker {
        Some(version) => output!("onnx.checker {version}: passed")?,
        None => output!("onnx.checker: not there, since the package onnx is not installed")?,
    }
    if let Some(same) = same_class {
        output!("same class as classify: {same} of {inputs}")?;
    }
    let mut rows = Vec::new();
    for CheckedOutput { output, distance, allowed } in outputs {
        let distance = distance.map_or("not finite".to_owned(), |distance| format!("{distance:.1e}"));
        rows.push(vec![(*output).to_owned(), distance, format!("{allowed:.0e}")]);
    }
    output!("\n{}", table(&["output", "largest distance", "allowed"], rows))?;
    Ok(())
}
