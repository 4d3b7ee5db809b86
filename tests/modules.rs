//! The modules of a crate and what they import of each other, read from its source: `use` lines and paths in the code,
//! tests included, but for those inside macros.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Item, ItemMod, ItemUse, UseTree};

/// A module's path from the root of its crate: `run::error` is `["run", "error"]`, the root itself is empty.
type ModulePath = Vec<String>;

/// The modules of a crate that are files of their own.
pub struct Modules(BTreeMap<ModulePath, Module>);

struct Module {
    /// The files that it declares, in the order of its `mod` lines.
    children: Vec<String>,
    /// The paths in it.
    mentions: Vec<Mention>,
}

/// A path in the code, as it is written.
struct Mention {
    /// The module that it is written in: the file's, or one inside the file.
    scope: ModulePath,
    names: Vec<String>,
}

impl Modules {
    /// The modules of the crate whose root is this file, `lib.rs` or `main.rs`.
    pub fn read(root: &Path) -> Self {
        Self::parse(|module| {
            let path = file_of(root, module);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
    }

    /// The files of the modules of the crate with this root.
    pub fn files(&self, root: &Path) -> Vec<PathBuf> {
        self.0.keys().map(|module| file_of(root, module)).collect()
    }

    /// The modules reached from the root; `source` gives the text of each.
    fn parse(source: impl Fn(&[String]) -> String) -> Self {
        let mut modules = BTreeMap::new();
        let mut open = vec![ModulePath::new()];
        while let Some(path) = open.pop() {
            let file = syn::parse_file(&source(&path)).unwrap_or_else(|error| panic!("{}: {error}", name(&path)));
            let mut children = Vec::new();
            for item in &file.items {
                if let Item::Mod(ItemMod { ident, content: None, .. }) = item {
                    children.push(ident.to_string());
                    open.push(child(&path, &ident.to_string()));
                }
            }
            let mut reader = Reader { scope: path.clone(), mentions: Vec::new() };
            reader.visit_file(&file);
            modules.insert(path, Module { children, mentions: reader.mentions });
        }
        Self(modules)
    }

    /// In words: the files that import each other, and those that import one that the module above them lists later.
    pub fn problems(&self) -> Vec<String> {
        let imports: BTreeMap<&ModulePath, BTreeSet<ModulePath>> =
            self.0.iter().map(|(path, module)| (path, self.imports(path, module))).collect();
        let mut problems = Vec::new();
        for (path, imported) in &imports {
            for other in imported {
                if *path < other && imports[other].contains(*path) {
                    problems.push(format!("{} and {} import each other", name(path), name(other)));
                }
                if let Some(above) = self.lists_later(path, other) {
                    problems.push(format!("{} imports {}, which {above} lists later", name(path), name(other)));
                }
            }
        }
        problems
    }

    /// The other files that this one names something of.
    fn imports(&self, path: &ModulePath, module: &Module) -> BTreeSet<ModulePath> {
        let mut imports = BTreeSet::new();
        for mention in &module.mentions {
            if let Some(absolute) = self.absolute(path, mention) {
                // What follows the file's own path is an item in it, or a module inside it.
                let file = (0..=absolute.len()).rev().find(|&end| self.0.contains_key(&absolute[..end]));
                imports.insert(absolute[..file.unwrap_or(0)].to_vec());
            }
        }
        imports.remove(path);
        imports
    }

    /// The path from the crate's root that is meant; none if it leads to another crate or names something local.
    fn absolute(&self, file: &ModulePath, mention: &Mention) -> Option<ModulePath> {
        let mut names = mention.names.as_slice();
        let mut base = match names.first()?.as_str() {
            "crate" => ModulePath::new(),
            "self" | "super" => mention.scope.clone(),
            first if mention.scope == *file && self.0[file].children.iter().any(|child| child == first) => file.clone(),
            _ => return None,
        };
        while let Some((first, rest)) = names.split_first()
            && ["crate", "self", "super"].contains(&first.as_str())
        {
            if first == "super" {
                base.pop();
            }
            names = rest;
        }
        base.extend_from_slice(names);
        Some(base)
    }

    /// The module in whose list `other` stands behind `path`, or the modules above them do.
    fn lists_later(&self, path: &ModulePath, other: &ModulePath) -> Option<String> {
        let common = path.iter().zip(other).take_while(|(a, b)| a == b).count();
        let (of_path, of_other) = (path.get(common)?, other.get(common)?);
        let children = &self.0[&path[..common]].children;
        let place = |name: &String| children.iter().position(|child| child == name);
        (place(of_path) < place(of_other)).then(|| name(&path[..common]))
    }
}

/// Collects the paths of a file.
struct Reader {
    scope: ModulePath,
    mentions: Vec<Mention>,
}

impl Reader {
    fn mention(&mut self, names: Vec<String>) {
        self.mentions.push(Mention { scope: self.scope.clone(), names });
    }

    fn mention_tree(&mut self, before: &[String], tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.mention_tree(&child(before, &path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.mention(child(before, &name.ident.to_string())),
            UseTree::Rename(rename) => self.mention(child(before, &rename.ident.to_string())),
            UseTree::Glob(_) => self.mention(before.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.mention_tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.scope.push(module.ident.to_string());
        syn::visit::visit_item_mod(self, module);
        self.scope.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.mention_tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single name is that of something local.
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            self.mention(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}

/// The root, or in its folder `run/error.rs` or `run/error/mod.rs`.
fn file_of(root: &Path, module: &[String]) -> PathBuf {
    if module.is_empty() {
        return root.to_owned();
    }
    let path = root.with_file_name("").join(module.iter().collect::<PathBuf>());
    let file = path.with_extension("rs");
    if file.is_file() { file } else { path.join("mod.rs") }
}

fn child(path: &[String], name: &str) -> ModulePath {
    let mut path = path.to_vec();
    path.push(name.to_owned());
    path
}

fn name(path: &[String]) -> String {
    if path.is_empty() { "the root".to_owned() } else { path.join("::") }
}

/// What this finds in a made-up crate of four files: `fit`, `run` and, inside it, `run::file` and `run::page`.
#[cfg(test)]
mod tests {
    use super::*;

    fn problems(root: &str, fit: &str, run: &str, file: &str, page: &str) -> Vec<String> {
        let modules = Modules::parse(|path| {
            let text = match name(path).as_str() {
                "the root" => root,
                "fit" => fit,
                "run" => run,
                "run::file" => file,
                "run::page" => page,
                other => panic!("{other}"),
            };
            text.to_owned()
        });
        assert_eq!(modules.0.len(), 5);
        modules.problems()
    }

    const ROOT: &str = "mod fit; mod run; pub use run::Run;";
    const RUN: &str = "mod file; mod page; pub use self::page::Run;";

    #[test]
    fn imports_that_run_one_way_are_no_problem() {
        let page = "use super::file::{self, Path}; use crate::fit::{Fit, FitError as Error}; use std::run::fit;
                    fn f() { file::write(crate::fit::loss::<crate::fit::Fit>()) } mod run { use super::super::super::fit; }";
        let file = "use crate::fit::*; mod tests { use super::*; use crate::fit::tests::fit; }";
        assert_eq!(problems(ROOT, "mod tests {}", RUN, file, page), [""; 0]);
    }

    #[test]
    fn every_import_of_what_is_listed_later_is_found() {
        for line in [
            "use crate::run::Run;",
            "use crate::{std, run::{Run, Path}};",
            "use super::run;",
            "pub use super::run::*;",
            "fn f() { let run: crate::run::Run = None; }",
            "mod tests { use super::super::run::Run; }",
        ] {
            assert_eq!(problems(ROOT, line, RUN, "", ""), ["fit imports run, which the root lists later"], "{line}");
        }
        assert_eq!(
            problems(ROOT, "use crate::run::file::Path;", RUN, "use super::page::Run;", ""),
            ["fit imports run::file, which the root lists later", "run::file imports run::page, which run lists later"]
        );
    }

    #[test]
    fn files_that_import_each_other_are_found() {
        for line in ["use super::Run;", "use crate::run::Run;", "fn f() { super::g(); }"] {
            assert_eq!(problems(ROOT, "", RUN, "", line), ["run and run::page import each other"], "{line}");
        }
        assert_eq!(problems(ROOT, "", RUN, "use crate::Run;", ""), [""; 0]);
        assert_eq!(
            problems(ROOT, "", "mod file; mod page; fn f() { page::g() }", "", "use crate::run::Run;"),
            ["run and run::page import each other"]
        );
        assert_eq!(
            problems("mod fit; mod run;", "use crate::run::f;", "mod file; mod page; use crate::fit;", "", ""),
            ["fit and run import each other", "fit imports run, which the root lists later"]
        );
    }
}
