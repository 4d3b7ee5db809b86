//! Reads from a crate's source which modules import each other: by `use` lines and by paths in the code, including
//! tests. Paths inside macros are not found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Item, ItemMod, ItemUse, UseTree};

/// A module's path from the root of its crate: `run::error` is `["run", "error"]`, the root itself is empty.
type ModulePath = Vec<String>;

/// The modules of a crate that are files of their own.
pub struct Modules(BTreeMap<ModulePath, Module>);

/// A module that is a file.
struct Module {
    /// The modules that it declares as files, in the order of its `mod` lines.
    children: Vec<String>,
    /// The paths in its code.
    paths: Vec<CodePath>,
}

/// A path in the code, as it is written.
struct CodePath {
    /// The module that contains it: the file's, or one inside the file.
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

    /// The files of all modules; `root` is that of the crate.
    pub fn files(&self, root: &Path) -> Vec<PathBuf> {
        self.0.keys().map(|module| file_of(root, module)).collect()
    }

    /// Parses all modules from the root on; `source` gives the text of each.
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
            let mut collector = PathCollector { scope: path.clone(), paths: Vec::new() };
            collector.visit_file(&file);
            modules.insert(path, Module { children, paths: collector.paths });
        }
        Self(modules)
    }

    /// A sentence for each pair of files that import each other, and for each file that imports one that their parent
    /// module lists later.
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

    /// The other files from which this one imports something.
    fn imports(&self, path: &ModulePath, module: &Module) -> BTreeSet<ModulePath> {
        let mut imports = BTreeSet::new();
        for code_path in &module.paths {
            if let Some(absolute) = self.absolute(path, code_path) {
                // The longest prefix that is a file; the rest is an item in it, or a module inside it.
                let file = (0..=absolute.len()).rev().find(|&end| self.0.contains_key(&absolute[..end]));
                imports.insert(absolute[..file.unwrap_or(0)].to_vec());
            }
        }
        imports.remove(path);
        imports
    }

    /// The path from the crate's root; `None` if it leads to another crate or is a local name.
    fn absolute(&self, file: &ModulePath, code_path: &CodePath) -> Option<ModulePath> {
        let CodePath { scope, names } = code_path;
        let mut names = names.as_slice();
        let mut base = match names.first()?.as_str() {
            "crate" => ModulePath::new(),
            "self" | "super" => scope.clone(),
            first if scope == file && self.0[file].children.iter().any(|child| child == first) => file.clone(),
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

    /// The name of the module in which the paths part, if it lists the branch of `other` after that of `path`.
    fn lists_later(&self, path: &ModulePath, other: &ModulePath) -> Option<String> {
        let common = path.iter().zip(other).take_while(|(a, b)| a == b).count();
        let (of_path, of_other) = (path.get(common)?, other.get(common)?);
        let children = &self.0[&path[..common]].children;
        let place = |name: &String| children.iter().position(|child| child == name);
        (place(of_path) < place(of_other)).then(|| name(&path[..common]))
    }
}

/// Collects the paths in a file.
struct PathCollector {
    /// The module that is being visited.
    scope: ModulePath,
    paths: Vec<CodePath>,
}

impl PathCollector {
    fn add(&mut self, names: Vec<String>) {
        self.paths.push(CodePath { scope: self.scope.clone(), names });
    }

    /// Adds the paths of a `use` line; `before` is the path before this part of it.
    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.add_tree(&child(before, &path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.add(child(before, &name.ident.to_string())),
            UseTree::Rename(rename) => self.add(child(before, &rename.ident.to_string())),
            UseTree::Glob(_) => self.add(before.to_vec()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for PathCollector {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.scope.push(module.ident.to_string());
        syn::visit::visit_item_mod(self, module);
        self.scope.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.add_tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A path of one name is local.
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}

/// The file of a module: the root, or `run/error.rs` or `run/error/mod.rs` in its folder.
fn file_of(root: &Path, module: &[String]) -> PathBuf {
    if module.is_empty() {
        return root.to_owned();
    }
    let path = root.with_file_name("").join(module.iter().collect::<PathBuf>());
    let file = path.with_extension("rs");
    if file.is_file() { file } else { path.join("mod.rs") }
}

/// The path of a module's child.
fn child(path: &[String], name: &str) -> ModulePath {
    let mut path = path.to_vec();
    path.push(name.to_owned());
    path
}

/// A module's path as text.
fn name(path: &[String]) -> String {
    if path.is_empty() { "the root".to_owned() } else { path.join("::") }
}

/// Tests on a small crate of the modules `fit`, `run`, `run::file` and `run::page`.
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
    fn imports_of_earlier_modules_are_allowed() {
        let page = "use super::file::{self, Path}; use crate::fit::{Fit, FitError as Error}; use std::run::fit;
                    fn f() { file::write(crate::fit::loss::<crate::fit::Fit>()) } mod run { use super::super::super::fit; }";
        let file = "use crate::fit::*; mod tests { use super::*; use crate::fit::tests::fit; }";
        assert_eq!(problems(ROOT, "mod tests {}", RUN, file, page), [""; 0]);
    }

    #[test]
    fn every_import_of_a_later_module_is_found() {
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
