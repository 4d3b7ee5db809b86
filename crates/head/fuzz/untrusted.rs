//! What the fuzz targets and the tests do with damaged or malicious runs. Each function must return for any bytes.

use std::fs;
use std::path::Path;

use head::prediction::Predictor;
use head::report::{Gallery, run_page, sweep_page};
use head::run::Run;
use head::summary::SweepResults;

/// The files of a valid run, as far as they are read.
pub const RUN: [(&str, &[u8]); 6] = [
    ("config.json", include_bytes!("run/config.json")),
    ("history.json", include_bytes!("run/history.json")),
    ("metrics.json", include_bytes!("run/metrics.json")),
    ("head.safetensors", include_bytes!("run/head.safetensors")),
    ("calibration.json", include_bytes!("run/calibration.json")),
    ("familiar.safetensors", include_bytes!("run/familiar.safetensors")),
];

/// Writes a valid run into `folder`, in which one file is replaced by `bytes`. The first byte chooses the file; it may
/// also choose both config.json and head.safetensors, separated by a zero byte. Then does everything that needs no
/// cache: loads the run, predicts, makes the report, saves a copy and loads that.
pub fn run(folder: &Path, bytes: &[u8]) {
    let Some((&which, content)) = bytes.split_first() else { return };
    let mut files: [(&str, &[u8]); RUN.len()] = RUN;
    if let Some((_, file)) = files.get_mut(usize::from(which) % (RUN.len() + 1)) {
        *file = content;
    } else if let Some(end) = content.iter().position(|&byte| byte == 0) {
        let [(_, config), _, _, (_, head), ..] = &mut files;
        (*config, *head) = (&content[..end], &content[end + 1..]);
    }
    let (original, copy) = (folder.join("original"), folder.join("copy"));
    fs::create_dir_all(&original).expect("a folder");
    for (name, file) in files {
        fs::write(original.join(name), file).expect("written");
    }

    let Ok(run) = Run::load(&original) else { return };
    let row = vec![0.5; run.classifier.inputs()];
    let predictions = Predictor::new(&run).predict(&[&row, &row]);
    assert_eq!(predictions[0].top(3).len(), run.classifier.classes().min(3));
    assert!(predictions.iter().all(|prediction| prediction.unfamiliar.is_some()), "both files are there");
    let _ = run.metrics.validation().map(|validation| validation.weakest_classes());
    assert!(run_page(&run, "fuzzed", &Gallery::default()).ends_with("</html>\n"));
    run.save(&copy).expect("what can be read can be written");
    Run::load(&copy).expect("what is written can be read");
    fs::remove_dir_all(copy).expect("removed");
}

/// Reads the bytes as a sweep.json and makes its report.
pub fn sweep(json: &[u8]) {
    let Ok(results) = serde_json::from_slice::<SweepResults>(json) else { return };
    assert!(sweep_page(&results, "fuzzed").ends_with("</html>\n"));
}
