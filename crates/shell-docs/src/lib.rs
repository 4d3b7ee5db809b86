//! Completions for shells and man pages, made of a command's own options: what scripts/install puts beside the programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

/// `extract shell-docs DIR`, and the same of the other commands: not for users, so it is hidden.
#[derive(Debug, Args)]
pub struct ShellDocsArgs {
    /// Folder to write into: bash, zsh and fish for the completions, man1 for the man pages
    folder: PathBuf,
}

impl ShellDocsArgs {
    /// Writes the completions and man pages of a command under this name, as in `icebox-extract`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, command: Command, name: &'static str) -> anyhow::Result<()> {
        let mut command = command.name(name).bin_name(name);
        // In names with a hyphen clap_complete's script for bash does not find the subcommands again.
        let completed = name.replace('-', "_");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let folder = self.folder.join(shell.to_string());
            create(&folder)?;
            clap_complete::generate_to(shell, &mut command, &completed, &folder)
                .with_context(|| format!("{}: cannot be written", folder.display()))?;
        }
        let folder = self.folder.join("man1");
        create(&folder)?;
        clap_mangen::generate_to(command.bin_name(name), &folder)
            .with_context(|| format!("{}: cannot be written", folder.display()))
    }
}

fn create(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be written", folder.display()))
}
