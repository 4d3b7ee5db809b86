//! End-to-end tests: the real binaries on real files.

mod caches;
mod keras;
mod incremental;
mod shards;
mod ray;
mod clusters;
mod orientation;
mod bad_input;
mod photos;
mod crash;
mod damage;
mod training;
mod classify;
mod import;
mod serve;
mod deploy;
mod export;
mod pipes;
mod browser;
mod chromium;
mod page;
mod python;
mod modules;
mod dependencies;
mod lean;
mod install;
