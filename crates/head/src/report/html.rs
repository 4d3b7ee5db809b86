//! The HTML of a page: style, sections, tables and charts.

use crate::charts::{Chart, STYLE as CHART_STYLE, Table, legend_key};
use crate::markup::escape;

const STYLE: &str = include_str!("style.css");
/// The browser enforces that nothing is fetched and no script runs.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A page being written.
pub(super) struct Page(String);

impl Page {
    pub(super) fn new(title: &str, about: &str) -> Self {
        let (title, about) = (escape(title), escape(about));
        Self(format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <link rel=\"icon\" href=\"data:,\"><title>{title}</title><style>{CHART_STYLE}{STYLE}</style></head>\
             <body><main><header><h1>{title}</h1><p>{about}</p></header>\n"
        ))
    }

    pub(super) fn section(&mut self, heading: &str, content: &str) {
        self.0 += &format!("<section><h2>{}</h2>{content}</section>\n", escape(heading));
    }

    pub(super) fn finish(self) -> String {
        self.0 + "</main></body></html>\n"
    }
}

/// A table of text.
pub(super) fn table(table: &Table) -> String {
    let header: String = table.header.iter().map(|name| header_cell(name)).collect();
    let mut rows = String::new();
    for row in &table.rows {
        rows += "<tr>";
        for cell in row {
            rows += &format!("<td>{}</td>", escape(cell));
        }
        rows += "</tr>";
    }
    scrolling_table("", &header, &rows)
}

/// The header cell of a column.
pub(super) fn header_cell(name: &str) -> String {
    format!("<th scope=\"col\">{}</th>", escape(name))
}

/// A table that scrolls if it is wider than the page, also with the keyboard. `header` and `rows` are HTML.
pub(super) fn scrolling_table(class: &str, header: &str, rows: &str) -> String {
    format!(
        "<div class=\"wide\" tabindex=\"0\"><table class=\"{class}\"><thead><tr>{header}</tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

/// A chart with title and legend; its table is collapsed below.
pub(super) fn figure(chart: &Chart) -> String {
    let mut legend = format!("<strong>{}</strong>", escape(&chart.title));
    for (series, name) in chart.series.iter().enumerate() {
        legend += &format!(
            "<span class=\"entry\"><svg class=\"key\" viewBox=\"0 0 32 12\" aria-hidden=\"true\">{}</svg>{}</span>",
            legend_key(series),
            escape(name)
        );
    }
    format!(
        "<figure><figcaption>{legend}</figcaption>{}<details><summary>as a table</summary>{}</details></figure>",
        chart.svg(),
        table(&chart.table)
    )
}
