//! Shell completions and man pages, generated from a command's options for scripts/install.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

/// The arguments of `extract shell-docs DIR`, and of the same subcommand of the other programs: hidden from `--help`,
/// since only scripts/install uses it.
#[derive(Debug, Args)]
pub struct ShellDocsArgs {
    /// Folder to write into: bash, zsh and fish for the completions, man1 for the man pages
    folder: PathBuf,
}

impl ShellDocsArgs {
    /// Writes the completions and man pages of a command, under a name like `icebox-extract`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, command: Command, name: &'static str) -> anyhow::Result<()> {
        let mut command = command.name(name).bin_name(name);
        // clap_complete's bash script does not find subcommands if the command's name has a hyphen.
        let completion_name = name.replace('-', "_");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let folder = self.folder.join(shell.to_string());
            create_folder(&folder)?;
            clap_complete::generate_to(shell, &mut command, &completion_name, &folder)
                .with_context(|| format!("{}: cannot be written", folder.display()))?;
        }
        let folder = self.folder.join("man1");
        create_folder(&folder)?;
        // clap_complete has set the other name.
        clap_mangen::generate_to(command.bin_name(name), &folder)
            .with_context(|| format!("{}: cannot be written", folder.display()))
    }
}

fn create_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be written", folder.display()))
}
