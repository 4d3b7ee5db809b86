//! scripts/deploy: runs the Slurm script on a Slurm cluster of one node, and validates the Kubernetes manifest.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use end_to_end::{
    Photos, Ran, Running, SMALLEST_SIZE, binary, command, contents, extract, isolated, note_skipped, run_command,
    start, workspace,
};

/// The daemons of a Slurm cluster of one node, which listen only on this machine; they are ended when dropped.
struct Slurm {
    daemons: Vec<Running>,
    folder: tempfile::TempDir,
}

impl Drop for Slurm {
    fn drop(&mut self) {
        // In reverse order, so that munged outlives the daemons that use it.
        for daemon in self.daemons.iter_mut().rev() {
            let asked = Command::new("kill").arg(daemon.child.id().to_string()).status();
            if !asked.is_ok_and(|status| status.success()) {
                let _ = daemon.child.kill();
            }
            let _ = daemon.child.wait();
        }
    }
}

impl Slurm {
    /// Starts munged, which signs messages, then the controller and the node's daemon on free ports.
    fn start() -> Self {
        let folder = end_to_end::temporary();
        let root = folder.path();
        // munged insists on folders that only its user can write, as this one is.
        let socket = root.join("munge.socket");
        fs::write(root.join("munge.key"), [7; 128]).unwrap();
        run_command(Command::new("chmod").arg("400").arg(root.join("munge.key"))).succeeded();
        run_command(Command::new("chmod").arg("711").arg(root)).succeeded();
        let host = run_command(&mut Command::new("hostname")).succeeded().stdout;
        let [controller, node] = [(); 2].map(|()| free_port());
        let config = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nSlurmctldPort={controller}\n\
             SlurmdPort={node}\nAuthType=auth/munge\nAuthInfo=socket={socket}\nCredType=cred/munge\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSelectType=select/cons_tres\n\
             SelectTypeParameters=CR_Core\nMpiDefault=none\nReturnToService=2\nStateSaveLocation={root}/state\n\
             SlurmdSpoolDir={root}/spool\nSlurmctldPidFile={root}/controller.pid\nSlurmdPidFile={root}/node.pid\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN\n\
             PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n",
            host = host.trim(),
            socket = socket.display(),
            root = root.display(),
        );
        fs::write(root.join("slurm.conf"), config).unwrap();
        let mut slurm = Self { daemons: Vec::new(), folder };
        let root = slurm.folder.path().to_owned();
        let mut munged = Command::new("munged");
        munged.args(["--foreground", "--force", "--num-threads=1", "--key-file"]).arg(root.join("munge.key"));
        for (option, file) in [("--socket", "munge.socket"), ("--pid-file", "munge.pid"), ("--seed-file", "seed")] {
            munged.arg(option).arg(root.join(file));
        }
        munged.arg("--log-file").arg(root.join("munge.log"));
        slurm.spawn(&mut munged);
        wait_for("munged", || socket.exists());
        slurm.spawn(Command::new("slurmctld").arg("-D"));
        slurm.spawn(Command::new("slurmd").arg("-D"));
        wait_for("the node", || slurm.run(Command::new("sinfo").args(["-h", "-o", "%T"])).stdout.contains("idle"));
        slurm
    }

    fn spawn(&mut self, daemon: &mut Command) {
        let log = fs::File::create(self.folder.path().join(format!("daemon-{}.log", self.daemons.len()))).unwrap();
        daemon.env("SLURM_CONF", self.folder.path().join("slurm.conf"));
        self.daemons.push(start(daemon.stdout(log.try_clone().unwrap()).stderr(log)));
    }

    /// Runs one of Slurm's commands.
    fn run(&self, command: &mut Command) -> Ran {
        run_command(command.env("SLURM_CONF", self.folder.path().join("slurm.conf")))
    }
}

/// A port that nothing listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[track_caller]
fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} has not started");
        sleep(Duration::from_millis(50));
    }
}

fn is_installed(program: &str) -> bool {
    ["/usr/bin", "/usr/sbin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

#[test]
fn a_slurm_job_array_extracts_every_shard() {
    let is_root = run_command(Command::new("id").arg("-u")).stdout.trim() == "0";
    if !is_root || !["munged", "slurmctld", "slurmd", "sbatch"].into_iter().all(is_installed) {
        note_skipped("no Slurm; with CI=true and as root scripts/test installs Debian's slurm-wlm and munge");
        return;
    }
    let photos = Photos::new(&["train/cat", "train/dog", "validation/cat"], 6);
    let (single, cache) = (photos.sibling("single"), photos.sibling("cache"));
    extract(&photos.path(), &single, &[]).succeeded();
    let slurm = Slurm::start();
    let log = photos.sibling("log-%a");
    let submit = |array: &str| {
        let mut sbatch = isolated(Command::new("sbatch"));
        sbatch.args(["--wait", array, "--output"]).arg(&log).arg(workspace().join("scripts/deploy/slurm"));
        sbatch.arg(photos.path()).arg(&cache).args(SMALLEST_SIZE).args(["--threads", "1"]);
        slurm.run(sbatch.env("ICEBOX_EXTRACT", binary("extract")))
    };
    let ran = submit("--array=0-3");
    let log_of = |task: usize| fs::read_to_string(photos.sibling(&format!("log-{task}"))).unwrap_or_default();
    assert_eq!(ran.code, Some(0), "{ran:?} {}", (0..4).map(log_of).collect::<String>());
    // A part of the array that is submitted again is an error, since it would count as a whole array.
    assert_ne!(submit("--array=2-3").code, Some(0));
    assert!(log_of(2).contains("the job array begins at 2, expected 0 or 1"), "{}", log_of(2));
    run_command(command("extract").arg("merge").arg(&cache)).succeeded();
    assert_eq!(contents(&cache), contents(&single));
}

#[test]
fn the_kubernetes_manifest_is_valid_and_a_wrong_one_is_not() {
    let validate = workspace().join("data/python-peers/bin/kubernetes-validate");
    if !validate.exists() {
        note_skipped("no kubernetes-validate; scripts/setup --peers installs it");
        return;
    }
    let manifest = workspace().join("scripts/deploy/kubernetes-job.yaml");
    run_command(Command::new(&validate).arg("--strict").arg(&manifest)).succeeded();

    let text = fs::read_to_string(&manifest).unwrap();
    // The number of shards is the number of pods.
    assert!(
        text.contains("completions: 64\n") && text.contains("name: JOB_COMPLETIONS\n              value: \"64\"\n")
    );
    let folder = end_to_end::temporary();
    let wrong = folder.path().join("wrong.yaml");
    fs::write(&wrong, text.replace("completions: 64", "completions: many")).unwrap();
    assert_ne!(run_command(Command::new(&validate).arg(&wrong)).code, Some(0));
}
