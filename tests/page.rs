//! The server's page in a real browser: at the widths of a desktop and of a phone, light and dark.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use end_to_end::kitchen_photos;
use serde_json::{Value, json};

use crate::browser::{WIDTHS, browser};
use crate::chromium::{Chromium, Tab};
use crate::classify::Trained;
use crate::serve::Serving;

const MEASURE: &str = concat!(include_str!("browser/contrast.js"), include_str!("browser/page.js"));

/// JavaScript that is true when all photos have been answered.
const ANSWERED: &str = "!document.querySelector('#answers [aria-busy=\"true\"]')";

/// How the page shows a probability.
fn percent(probability: &Value) -> String {
    let rounded = format!("{:.1}", 100.0 * probability.as_f64().unwrap());
    if rounded == "100.0" { "> 99.9 %".to_owned() } else { format!("{rounded} %") }
}

/// Opens the page and waits until it is ready.
fn open(tab: &mut Tab<'_>, serving: &Serving) {
    tab.call("Page.navigate", json!({"url": format!("http://{}/", serving.address)}));
    tab.wait_for("document.readyState === 'complete' && document.getElementById('classes')?.textContent !== ''");
}

/// Saves a screenshot in the target folder.
fn screenshot(tab: &mut Tab<'_>, name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    let shot = tab.call("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
    fs::write(folder.join(name), STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
}

#[test]
fn dropped_photos_are_classified() {
    let Some(browser) = browser() else { return };
    let trained = Trained::new();
    let [hat, text] = [trained.path("hat/000.png"), trained.path("not a photo.jpg")];
    fs::write(&text, "text").unwrap();
    let kitchen = kitchen_photos();
    let photos = [hat.as_ref(), text.as_ref(), kitchen[0].as_path()];
    let lines = trained.classify(&[&hat, kitchen[0].to_str().unwrap(), "--json"]).succeeded().stdout;
    let expected: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let serving = Serving::start(&trained.run, &[]);
    let mut chromium = Chromium::start(&browser);
    for dark in [false, true] {
        for width in WIDTHS {
            let mut tab = chromium.open(width, 900, dark);
            open(&mut tab, &serving);
            tab.drop_files(&photos);
            tab.wait_for(&format!("document.querySelectorAll('#answers > li').length === 3 && {ANSWERED}"));
            // The pictures are loaded independently of the answers.
            tab.wait_for("[...document.querySelectorAll('#answers img')].every((image) => image.complete)");
            let page = tab.evaluate(MEASURE);
            let theme = if dark { "dark" } else { "light" };
            screenshot(&mut tab, &format!("{theme}-{width}.png"));

            assert_eq!(page["ground"][0].as_u64().unwrap() < 60, dark, "{page:#}");
            assert!(page["needed"].as_u64().unwrap() <= page["width"].as_u64().unwrap(), "too wide: {page:#}");
            assert!(page["texts"].as_u64().unwrap() > 10, "{page:#}");
            assert_eq!((&page["pale"], &page["small"], &page["unnamed"]), (&json!([]), &json!([]), &json!(0)));
            assert_eq!(page["classes"], "3 classes: hat, shirt, shoe");
            let cards = page["cards"].as_array().unwrap();
            for (card, expected) in [(&cards[0], &expected[0]), (&cards[2], &expected[1])] {
                let mut rows = Vec::new();
                for ranked in expected["top"].as_array().unwrap() {
                    rows.push(json!([ranked["class"], percent(&ranked["probability"])]));
                }
                assert_eq!(card["rows"], json!(rows), "{card:#}");
                let unfamiliar = expected["unfamiliar"] == json!(true);
                assert_eq!(card["top"], if unfamiliar { json!("Unfamiliar") } else { expected["class"].clone() });
                assert_eq!(card["note"].is_string(), unfamiliar, "{card:#}");
                assert_eq!(card["picture"], true, "{card:#}");
                let bars = card["bars"].as_array().unwrap();
                assert_eq!(bars.len(), rows.len(), "{card:#}");
                for (bar, ranked) in bars.iter().zip(expected["top"].as_array().unwrap()) {
                    let (bar, probability) = (bar.as_f64().unwrap(), ranked["probability"].as_f64().unwrap());
                    assert!((bar - probability).abs() < 0.02, "{card:#}");
                }
            }
            assert_eq!((&cards[1]["name"], &cards[1]["top"]), (&json!("not a photo.jpg"), &json!("No answer")));
            let note = "This file is not a picture (JPEG, PNG, BMP, GIF, WebP or TIFF)";
            assert_eq!((&cards[1]["note"], &cards[1]["picture"]), (&json!(note), &json!(false)));

            assert!(tab.console().is_empty(), "{:#?}", tab.console());
            let own = format!("http://{}/", serving.address);
            for request in tab.events("Network.requestWillBeSent") {
                let url = request["request"]["url"].as_str().unwrap();
                assert!([&own, "blob:", "data:"].iter().any(|start| url.starts_with(*start)), "{url}");
            }
        }
    }
}

/// If the server ends while the page is loaded, the page says so.
#[test]
fn a_server_that_does_not_answer_is_named_on_the_page() {
    let Some(browser) = browser() else { return };
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &[]);
    let mut chromium = Chromium::start(&browser);
    let mut tab = chromium.open(WIDTHS[0], 900, false);
    // As if the server had gone after the page's script.
    let source = "window.fetch = () => Promise.reject(new TypeError('Failed to fetch'));";
    tab.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": source}));
    open(&mut tab, &serving);
    let said = tab.evaluate("document.getElementById('classes').textContent");
    assert_eq!(said, "The server does not answer. Reload the page to try again.");
    assert!(tab.events("Runtime.exceptionThrown").is_empty(), "{:#?}", tab.console());
}

/// The first press of Tab leads to the button that chooses photos, and a chosen photo is answered.
#[test]
fn the_page_works_with_the_keyboard_alone() {
    let Some(browser) = browser() else { return };
    let trained = Trained::new();
    let serving = Serving::start(&trained.run, &[]);
    let mut chromium = Chromium::start(&browser);
    let mut tab = chromium.open(WIDTHS[0], 900, false);
    open(&mut tab, &serving);
    tab.press("Tab", 9);
    assert_eq!(tab.evaluate("document.activeElement.id"), "choose");
    let outline = "getComputedStyle(document.activeElement.parentElement).outlineStyle";
    assert_eq!(tab.evaluate(outline), "solid", "the focus is visible");

    let input = tab.call("Runtime.evaluate", json!({"expression": "document.getElementById('choose')"}));
    let files = json!({"files": [trained.path("shoe/001.png")], "objectId": input["result"]["objectId"]});
    tab.call("DOM.setFileInputFiles", files);
    tab.wait_for(&format!("document.querySelectorAll('#answers > li').length === 1 && {ANSWERED}"));
    let spoken = tab.evaluate("document.getElementById('spoken').textContent");
    assert!(spoken.as_str().unwrap().starts_with("001.png: "), "{spoken}");
    // The button that clears the answers keeps the focus on the page.
    tab.wait_for("document.getElementById('clear').offsetWidth > 0");
    tab.evaluate("document.getElementById('clear').focus()");
    tab.call(
        "Input.dispatchKeyEvent",
        json!({"type": "keyDown", "key": "Enter", "text": "\r", "windowsVirtualKeyCode": 13}),
    );
    tab.wait_for("document.querySelectorAll('#answers > li').length === 0");
    assert_eq!(tab.evaluate("document.activeElement.id"), "choose");
    assert!(tab.console().is_empty(), "{:#?}", tab.console());
}
