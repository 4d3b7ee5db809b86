//! The reports in a real browser: at the widths of a desktop and of a phone, light and dark.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{Photos, extract, note_skipped, run, run_command};
use serde_json::{Value, json};

const MEASURE: &str = concat!(include_str!("browser/contrast.js"), include_str!("browser/measure.js"));
/// The widths of a desktop and of a phone in pixels.
pub const WIDTHS: [u32; 2] = [1280, 390];
const HEIGHT: u32 = 4000;

/// The browser. If there is none, prints that the test is skipped; returns `None`, and the caller must return.
pub fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ICEBOX_CHROMIUM").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found =
        std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|at| at.is_file());
    if found.is_none() {
        note_skipped(&format!("no browser on the PATH ({}), and ICEBOX_CHROMIUM names none", names.join(", ")));
    }
    found
}

/// Adds the options of a headless browser that uses no network of its own and keeps its files in `profile`.
pub fn add_options(command: &mut Command, profile: &Path) {
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.arg("--disable-extensions").arg(with_path("--user-data-dir=", profile));
}

/// The option with a path at its end.
fn with_path(option: &str, path: &Path) -> OsString {
    let mut option = OsString::from(option);
    option.push(path);
    option
}

/// What the browser measured on some pages.
struct Rendered {
    /// The results of browser/measure.js, by page, then by width.
    findings: Vec<Vec<Value>>,
    console: Vec<String>,
    screenshot: image::RgbImage,
}

/// Shows the pages in frames of both widths, since no window of the browser is as narrow as a phone. The screenshot
/// stays in the target folder.
fn render(browser: &Path, pages: &[&str], dark: bool, name: &str) -> Rendered {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reports").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let mut frames = String::new();
    for (k, page) in pages.iter().enumerate() {
        // The page's policy allows no script. An exception is added for the one that measures.
        let policy = "default-src 'none'";
        assert!(page.contains(policy), "{page}");
        let page = page.replacen(policy, "default-src 'none'; script-src 'nonce-measure'", 1);
        let page = page.replace("</body>", &format!("<script nonce=\"measure\">{MEASURE}</script></body>"));
        fs::write(folder.join(format!("{k}.html")), page).unwrap();
        for width in WIDTHS {
            frames += &format!("<iframe name=\"{k} {width}\" src=\"{k}.html\" style=\"width: {width}px\"></iframe>");
        }
    }
    let host = folder.join("host.html");
    let collect = "const all = {}; onmessage = ({ data }) => { all[data.name] = data; \
                   document.getElementById('findings').textContent = \
                   JSON.stringify(all).replace(/[<>&]/g, (c) => '\\\\u00' + c.charCodeAt(0).toString(16)); };";
    let style =
        "html { color-scheme: light dark; } body { margin: 0; display: flex; } iframe { border: 0; flex: none; }";
    let host_page = format!(
        "<!doctype html><style>{style} iframe {{ height: {HEIGHT}px; }} pre {{ display: none; }}</style>\
         <pre id=\"findings\"></pre><script>{collect}</script>{frames}"
    );
    fs::write(&host, host_page).unwrap();

    let screenshot = folder.join("screenshot.png");
    let profile = tempfile::tempdir_in(&folder).unwrap();
    let mut command = Command::new(browser);
    add_options(&mut command, profile.path());
    command.args(["--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"]);
    command.arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)));
    command.arg(format!("--window-size={},{HEIGHT}", pages.len() as u32 * WIDTHS.iter().sum::<u32>()));
    command.arg(with_path("--screenshot=", &screenshot));
    let ran = run_command(command.arg(&host)).succeeded();
    let all = ran.stdout.split("<pre id=\"findings\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap();
    let all: Value = serde_json::from_str(all).unwrap_or_else(|error| panic!("{error} in {ran:#?}"));
    let by_width = |page: usize| WIDTHS.iter().map(|width| all[format!("{page} {width}")].clone()).collect();
    Rendered {
        findings: (0..pages.len()).map(by_width).collect(),
        console: ran.stderr.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect(),
        screenshot: image::open(&screenshot).unwrap().to_rgb8(),
    }
}

/// The reports of a run and of a sweep on generated photos, and the run's confusion matrix.
fn reports() -> (String, String, Vec<Vec<u64>>) {
    let classes = ["hat", "shoe", "a garment with a rather long name"];
    let folders: Vec<String> =
        ["train", "validation"].iter().flat_map(|split| classes.map(|class| format!("{split}/{class}"))).collect();
    let made = Photos::new(&folders.iter().map(String::as_str).collect::<Vec<_>>(), 6);
    let [cache, out, sweep, photos] = [made.sibling("cache"), made.sibling("run"), made.sibling("sweep"), made.path()];
    extract(&photos, &cache, &[]).succeeded();
    let [cache, out, sweep, photos] = [&cache, &out, &sweep, &photos].map(|path| path.to_str().unwrap());
    run("head", ["train", cache, "--out", out, "--epochs", "12", "--learning-rate", "0.0003"]).succeeded();
    run("head", ["report", out, "--photos", photos]).succeeded();
    let grid = ["--learning-rates", "0.0001,0.0003,0.001", "--hidden", "0,4", "--epochs", "2", "--seeds", "2"];
    run("head", [&["sweep", cache, "--out", sweep], &grid[..]].concat()).succeeded();
    run("head", ["report", sweep]).succeeded();
    let page = |folder: &str| fs::read_to_string(Path::new(folder).join("report.html")).unwrap();
    let metrics: Value = serde_json::from_slice(&fs::read(Path::new(out).join("metrics.json")).unwrap()).unwrap();
    let confusion = serde_json::from_value(metrics["validation"]["confusion"].clone()).unwrap();
    (page(out), page(sweep), confusion)
}

/// Asserts what must be true of every report at every width.
fn assert_sound(page: &Value, dark: bool) {
    assert_eq!(page["dark"], dark);
    let ground = page["ground"][0].as_u64().unwrap();
    assert_eq!(ground < 60, dark, "{ground}");
    assert!(page["needed"].as_u64().unwrap() <= page["width"].as_u64().unwrap(), "the page is too wide: {page:#}");
    assert!(page["texts"].as_u64().unwrap() > 40, "{page:#}");
    for list in ["pale", "addresses", "fetched"] {
        assert_eq!(page[list], json!([]), "{list}");
    }
    for count in ["unnamed", "tables_without_header"] {
        assert_eq!(page[count], 0, "{count}");
    }
    for chart in page["charts"].as_array().unwrap() {
        let number = |name: &str| chart[name].as_f64().unwrap();
        assert!(number("width") > 300.0 && number("height") > 170.0, "{chart:#}");
        assert!(number("letters") > 10.5, "{chart:#}");
        assert_eq!((&chart["cut"], &chart["touching"]), (&json!([]), &json!([])));
        assert_eq!((&chart["keys"], &chart["lines"]), (&json!(2), &json!(2)), "{chart:#}");
    }
}

#[test]
fn the_reports_are_complete_at_both_widths_light_and_dark() {
    let Some(browser) = browser() else { return };
    let (run, sweep, confusion) = reports();
    let mut wrong: u64 = 0;
    for (class, row) in confusion.iter().enumerate() {
        for (predicted, count) in row.iter().enumerate() {
            wrong += if predicted == class { 0 } else { *count };
        }
    }
    assert!(wrong > 0, "no mistakes to show: {confusion:?}");
    for (dark, name) in [(false, "light"), (true, "dark")] {
        let rendered = render(&browser, &[&run, &sweep], dark, name);
        assert!(rendered.console.is_empty(), "{:#?}", rendered.console);
        for page in rendered.findings.iter().flatten() {
            assert_sound(page, dark);
        }
        for page in &rendered.findings[0] {
            let charts = page["charts"].as_array().unwrap();
            let titles: Vec<&Value> = charts.iter().map(|chart| &chart["title"]).collect();
            assert_eq!(titles, ["Loss by epoch", "Accuracy by epoch"]);
            let headings = ["Result", "Training curves", "Confusion matrix", "Per-class metrics"];
            let headings = [&headings[..], &["Most confident mistakes", "Most unfamiliar photos", "Settings"]].concat();
            assert_eq!(page["headings"].as_array().unwrap()[1..], headings);
            for chart in charts {
                assert_eq!((&chart["marks"], &chart["rows"]), (&json!(2 * 12), &json!(12)), "{chart:#}");
            }
            assert_eq!(page["heat"], json!(confusion));
            assert!(page["heat_grounds"].as_u64().unwrap() > 2, "{page:#}");
            let bars: Vec<[f64; 2]> = serde_json::from_value(page["bars"].clone()).unwrap();
            assert_eq!(bars.len(), 3 * 3);
            assert!(bars.iter().all(|[value, part]| (value - part).abs() < 0.01), "{bars:?}");
            // Up to twelve mistakes, and six photos that are unlike the training photos.
            let images = json!(wrong.min(12) + 6);
            assert_eq!((&page["images"], &page["loaded"]), (&images, &images));
        }
        for page in &rendered.findings[1] {
            let chart = &page["charts"][0];
            assert_eq!(chart["title"], "Validation accuracy, mean ± standard error by learning rate");
            assert_eq!((&chart["marks"], &chart["errors"], &chart["rows"]), (&json!(6), &json!(6), &json!(6)));
            assert_eq!(chart["faint"], 6 * 2);
        }
        let screenshot = &rendered.screenshot;
        let ground = *screenshot.get_pixel(2, 2);
        assert_eq!(ground[0] < 60, dark, "{ground:?}");
        let drawn = screenshot.pixels().filter(|pixel| **pixel != ground).count();
        assert!(drawn > screenshot.pixels().len() / 100, "only {drawn} pixels differ from the background");
    }
}

/// The measurements find everything that is wrong with a page.
#[test]
fn a_bad_page_is_recognised() {
    let Some(browser) = browser() else { return };
    let page = "<!doctype html><html><head><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
                style-src 'unsafe-inline'\"></head><body style=\"background: #fff\"><p style=\"color: #999\">pale</p>\
                <p style=\"color: #666\">dark enough</p><div style=\"width: 800px\">wide</div>\
                <img src=\"https://example.invalid/photo.jpg\" alt=\"a photo\"><script>document.title = 'no'</script>\
                <figure><svg viewBox=\"0 0 300 200\"><title>chart</title><text x=\"0\" y=\"20\">one</text>\
                <text x=\"5\" y=\"20\">other</text><text x=\"290\" y=\"60\">beyond</text></svg></figure></body></html>";
    let rendered = render(&browser, &[page], false, "wrong");
    let [desktop, phone] = &rendered.findings[0][..] else { panic!("two widths") };
    assert_eq!(desktop["pale"].as_array().unwrap().len(), 1, "{desktop:#}");
    assert!(desktop["pale"][0].as_str().unwrap().starts_with("pale: 2.8"), "{desktop:#}");
    assert_eq!((&desktop["needed"], &phone["width"]), (&json!(1280), &json!(390)));
    assert!(phone["needed"].as_u64().unwrap() > 800, "{phone:#}");
    assert_eq!((&desktop["unnamed"], &desktop["loaded"]), (&json!(1), &json!(0)));
    assert_eq!(desktop["addresses"], json!(["https://example.invalid/photo.jpg"]));
    assert_eq!(desktop["charts"][0]["touching"], json!(["one|other"]));
    assert_eq!(desktop["charts"][0]["cut"], json!(["beyond"]));
    let blocked_image = "Loading the image 'https://example.invalid/photo.jpg' violates";
    for message in [blocked_image, "Executing inline script violates"] {
        assert!(rendered.console.iter().any(|line| line.contains(message)), "{message} in {:#?}", rendered.console);
    }
}
