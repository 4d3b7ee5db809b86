//! `classify serve RUN`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use backbone::golden;
use backbone::pixels::Limits;
use clap::Args;
use classify::serve::{Log, LogFormat, Server};
use command_line::choice;
use head::run::Chosen;
use stdio::{note, output};

use super::model::ModelArgs;

/// The maximum memory for decoding and resizing, for all workers together. Every photo of 24 megapixels fits, except
/// those with 16 bits a channel and progressive JPEGs without chroma subsampling.
const MAX_PICTURE_BYTES: u64 = 176 << 20;

/// The pixels of the built-in picture that the network is checked with.
const GOLDEN_PIXELS: u64 = (golden::SIDE as u64).pow(2);

/// `classify serve RUN`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Run of head train or classify import, or a sweep: then its best setting's head from the first seed that did not
    /// diverge
    run: PathBuf,
    /// Port to listen on; 0 for any that is free
    #[arg(long, default_value = "8080")]
    port: u16,
    /// Address to listen on; 0.0.0.0 for all of this machine's
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Refuse pictures with more pixels than this; those of up to 22500 pixels, as the server's own for GET /ready, are
    /// always taken
    #[arg(long, value_name = "PIXELS", default_value = "24000000")]
    max_pixels: u64,
    /// Fetch pictures for {"url": …} from these hosts, separated by commas, each HOST or HOST:PORT; never from private
    /// addresses, and without following redirects [default: none]
    #[arg(long, value_name = "HOSTS", value_delimiter = ',', value_parser = host_name)]
    allow_urls: Vec<String>,
    /// How each request is logged on stderr
    #[arg(long, default_value = "text", value_parser = choice(&LogFormat::ALL, LogFormat::name))]
    log: LogFormat,
    #[command(flatten)]
    model: ModelArgs,
}

fn host_name(value: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if value.is_empty() || !value.chars().all(is_name) {
        return Err("expected HOST or HOST:PORT, without http:// and path".to_owned());
    }
    Ok(value.to_owned())
}

pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    // A port that is not free is reported before the weights are read.
    let server = Server::bind(args.host, args.port)?;
    let chosen = Chosen::open(&args.run)?;
    let limits = Limits { max_pixels: args.max_pixels.max(GOLDEN_PIXELS), max_bytes: MAX_PICTURE_BYTES };
    let model = args.model.load(&chosen, limits)?;
    let format = args.log;
    let log = Log::new(move |request| {
        if let Some(line) = format.line(request) {
            note!("{line}");
        }
    });
    let address = server.address();
    let mut printed = Ok(());
    let served = server.run(&model, &args.allow_urls, log, || {
        printed = output!("{} on http://{address}/", chosen.path.display());
    });
    served?;
    printed?;
    Ok(ExitCode::SUCCESS)
}
