//! scripts/deploy: the files of the container image are all that its command needs; the Kubernetes manifests are valid.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{lean_binary, note_skipped, run, run_command, workspace};

use crate::classify::Trained;
use crate::serve::Serving;

/// The image may have 150 MB; 26 MB are for its base image, distroless/cc, which has some 24 MB.
const MAX_BYTES: u64 = (150 - 26) * 1_000_000;

fn deploy(name: &str) -> PathBuf {
    workspace().join("scripts/deploy").join(name)
}

/// The arguments of every occurrence of an instruction in the Dockerfile.
fn instructions<'a>(dockerfile: &'a str, instruction: &str) -> Vec<&'a str> {
    let lines = dockerfile.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(name, _)| *name == instruction).map(|(_, arguments)| arguments).collect()
}

/// Copies a file or a folder. Returns the number of bytes.
fn copy(from: &Path, to: &Path) -> u64 {
    if from.is_dir() {
        let entries = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path());
        return entries.map(|entry| copy(&entry, &to.join(entry.file_name().unwrap()))).sum();
    }
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap()
}

/// Copies the files that the Dockerfile copies into a folder in place of the image's root, and runs the image's command
/// there. The files are within the size limit.
#[test]
fn the_images_files_are_all_that_its_command_needs() {
    let trained = Trained::new();
    let dockerfile = fs::read_to_string(deploy("Dockerfile")).unwrap();
    let root = end_to_end::temporary();
    let inside = |path: &str| root.path().join(path.trim_start_matches('/'));
    // Only the last stage is the image; the first one copies the source.
    let stage = dockerfile.rsplit("\nFROM ").next().unwrap();
    let mut bytes = 0;
    let copied = instructions(stage, "COPY");
    assert_eq!(copied.len(), 3, "{copied:?}");
    for arguments in copied {
        let arguments: Vec<&str> = arguments.split(' ').filter(|part| !part.starts_with("--")).collect();
        let [from, to] = arguments[..] else { panic!("{arguments:?}") };
        let from = match from {
            "/target/release/classify" => lean_binary("classify"),
            "${RUN}" => trained.run.clone(),
            from => workspace().join(from),
        };
        bytes += copy(&from, &inside(to));
    }
    assert!(bytes < MAX_BYTES, "{bytes} bytes");

    let words =
        |instruction: &str| -> Vec<String> { serde_json::from_str(instructions(stage, instruction)[0]).unwrap() };
    let [program] = &words("ENTRYPOINT")[..] else { panic!("one program") };
    let arguments = words("CMD");
    assert_eq!(arguments[..4], ["serve", "/icebox/run", "--host", "0.0.0.0"].map(str::to_owned));
    // Not in a container, so on a free port of the loopback interface.
    let mut command = Command::new(inside(program));
    command.env_clear().current_dir(root.path());
    let more: Vec<&str> = arguments[4..].iter().map(String::as_str).collect();
    let serving = Serving::start_command(command, &inside(&arguments[1]), &more);
    let answered = serving.post("image/png", &fs::read(trained.path("hat/000.png")).unwrap());
    assert_eq!(answered.status, 200, "{answered:?}");
    let (ended, log) = serving.stop();
    assert_eq!(ended.code, Some(0));
    assert!(log.lines().all(|line| line.starts_with("{\"time\":")), "{log}");
}

const VALIDATE: &str = r#"
import sys, yaml, kubernetes_validate
version = kubernetes_validate.latest_version()
for path in sys.argv[1:]:
    for manifest in yaml.safe_load_all(open(path)):
        kubernetes_validate.validate(manifest, version, strict=True)
        print(manifest["kind"])
# The check can fail.
manifest["spec"]["replica"] = 1
try:
    kubernetes_validate.validate(manifest, version, strict=True)
except kubernetes_validate.ValidationError:
    print("and a wrong one is refused")
"#;

#[test]
fn the_kubernetes_manifests_are_valid() {
    let python = workspace().join("data/python-peers/bin/python");
    let has_schemas = python.is_file()
        && run_command(Command::new(&python).args(["-c", "import kubernetes_validate"])).code == Some(0);
    if !has_schemas {
        note_skipped("no kubernetes-validate in data/python-peers");
        return;
    }
    let mut manifests: Vec<PathBuf> =
        fs::read_dir(deploy("kubernetes")).unwrap().map(|entry| entry.unwrap().path()).collect();
    manifests.sort();
    let ran = run_command(Command::new(python).args(["-c", VALIDATE]).args(&manifests)).succeeded();
    let kinds = "HorizontalPodAutoscaler\nDeployment\nPodDisruptionBudget\nService\nand a wrong one is refused\n";
    assert_eq!(ran.stdout, kinds);
}

/// Ports, paths and limits in the manifests agree with each other, with the Dockerfile and with the server.
#[test]
fn the_manifests_fit_the_server() {
    let text = |name: &str| fs::read_to_string(deploy("kubernetes").join(name)).unwrap();
    let deployment = text("deployment.yaml");
    let values = |key: &str| -> Vec<String> {
        let lines = deployment.lines().filter_map(|line| line.trim().trim_start_matches("- ").split_once(": "));
        lines.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).collect()
    };
    assert_eq!(
        (values("replicas"), values("path")),
        (vec!["2".to_owned()], ["/health", "/health", "/ready"].map(str::to_owned).to_vec())
    );
    let limits: BTreeMap<&str, Vec<String>> = ["cpu", "memory"].map(|key| (key, values(key))).into();
    assert!(limits["cpu"].iter().all(|cpu| cpu == "500m") && limits["cpu"].len() == 2, "{limits:?}");
    assert!(limits["memory"].iter().all(|memory| memory == "512Mi") && limits["memory"].len() == 2, "{limits:?}");
    let dockerfile = fs::read_to_string(deploy("Dockerfile")).unwrap();
    let ports = values("containerPort");
    assert_eq!(ports, instructions(&dockerfile, "EXPOSE"));
    assert!(text("service.yaml").contains(&format!("prometheus.io/port: \"{}\"\n", ports[0])));
    // The image's command leaves the port to the server.
    let help = run("classify", ["serve", "--help"]).succeeded().stdout.replace(char::is_whitespace, "");
    assert!(help.contains(&format!("[default:{}]", ports[0])), "{help}");
    assert!(text("autoscaler.yaml").contains("averageUtilization: 50\n"));
}
