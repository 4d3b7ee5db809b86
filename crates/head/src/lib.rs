//! `head`: trains dense classifiers on cached feature rows, in milliseconds.
//!
//! ```text
//! feature cache ─ data ─ layers ─ loss ─ adam ─ fit, sweep ─ metrics, calibration ─ run ─▶ run directory
//!                                                        row of a new photo ─ prediction ◀─┘
//! ```
//!
//! Training matches Keras: the same initial weights, order of rows and settings give the same losses in each epoch. The
//! crate does not link torch, and opens photos only for the thumbnails of a report. examples/train.rs trains a head,
//! evaluates it and saves its run.
//!
//! A module imports only from modules listed before it.

pub mod names;
mod markup;
pub mod schedule;
pub mod settings;
mod simd;
pub mod team;
pub mod data;
pub mod kernels;
mod cosine;
pub mod dropout;
pub mod loss;
pub mod probability;
pub mod layers;
pub mod adam;
pub mod sampler;
pub mod history;
pub mod fit;
pub mod sweep;
pub mod interval;
pub mod confusion;
pub mod metrics;
pub mod text;
pub mod summary;
pub mod knn;
pub mod logistic;
pub mod mislabels;
pub mod centroids;
pub mod temperature;
pub mod calibration;
pub mod charts;
pub mod run;
pub mod prediction;
pub mod evaluation;
pub mod report;
pub mod tensorboard;
