use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::inode::Inode;
use super::random::Random;
use crate::disk::{DirectoryEntry, Metadata};

type NodeId = u64;
type Entries = BTreeMap<String, NodeId>;

const ROOT: NodeId = 0;

/// Directories and files, with each directory's durable entries apart from its current ones.
pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next_id: NodeId,
}

enum Node {
    Directory(Directory),
    File(Arc<Inode>),
}

#[derive(Default)]
struct Directory {
    current: Entries,
    durable: Entries,
    /// The changes since the last sync, in order.
    unsynced: Vec<Change>,
}

enum Change {
    Link {
        name: String,
        node: NodeId,
    },
    Unlink {
        name: String,
    },
    Rename {
        from: String,
        to: String,
        node: NodeId,
    },
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Node::Directory(Directory::default());
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next_id: ROOT + 1,
        }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Option<Arc<Inode>>> {
        match self.find(path)?.and_then(|id| self.nodes.get(&id)) {
            Some(Node::File(inode)) => Ok(Some(Arc::clone(inode))),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Ok(None),
        }
    }

    pub(super) fn create_file(&mut self, path: &Path, now_ms: i64) -> io::Result<Arc<Inode>> {
        let (parent, name) = self.parent_of(path)?;
        let inode = Arc::new(Inode::default());
        inode.lock().modified_ms = now_ms;
        let node = self.add(Node::File(Arc::clone(&inode)));
        self.change(parent, Change::Link { name, node })?;
        Ok(inode)
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        let Some(id) = self.find(path)? else {
            return Ok(None);
        };
        Ok(self.nodes.get(&id).map(|node| match node {
            Node::Directory(_) => Metadata {
                is_directory: true,
                length: 0,
                modified_ms: 0,
            },
            Node::File(inode) => {
                let content = inode.lock();
                Metadata {
                    is_directory: false,
                    length: content.length(),
                    modified_ms: content.modified_ms,
                }
            }
        }))
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let id = self.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        let directory = self.directory(id)?;
        let entries = directory.current.iter().map(|(name, node)| DirectoryEntry {
            name: name.clone(),
            is_directory: matches!(self.nodes.get(node), Some(Node::Directory(_))),
        });
        Ok(entries.collect())
    }

    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        let mut id = ROOT;
        for name in names(path)? {
            id = match self.directory(id)?.current.get(name) {
                Some(child) => *child,
                None => {
                    let node = self.add(Node::Directory(Directory::default()));
                    self.change(
                        id,
                        Change::Link {
                            name: name.to_owned(),
                            node,
                        },
                    )?;
                    node
                }
            };
        }
        self.directory(id).map(|_| ())
    }

    /// Renames and returns the bytes of the file that was replaced.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<u64> {
        let node = self.find(from)?.ok_or(io::ErrorKind::NotFound)?;
        let (from_parent, from_name) = self.parent_of(from)?;
        let (to_parent, to_name) = self.parent_of(to)?;
        let mut freed = 0;
        if let Some(target) = self.find(to)? {
            if target == node {
                return Ok(0);
            }
            freed = self.allocated(target);
            if let Some(Node::Directory(directory)) = self.nodes.get(&target)
                && !directory.current.is_empty()
            {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
        }
        if from_parent == to_parent {
            self.change(
                from_parent,
                Change::Rename {
                    from: from_name,
                    to: to_name,
                    node,
                },
            )?;
        } else {
            self.change(
                to_parent,
                Change::Link {
                    name: to_name,
                    node,
                },
            )?;
            self.change(from_parent, Change::Unlink { name: from_name })?;
        }
        Ok(freed)
    }

    /// Removes the file and returns its bytes.
    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<u64> {
        let id = self.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        if matches!(self.nodes.get(&id), Some(Node::Directory(_))) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let freed = self.allocated(id);
        let (parent, name) = self.parent_of(path)?;
        self.change(parent, Change::Unlink { name })?;
        Ok(freed)
    }

    pub(super) fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        if !self.directory(id)?.current.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (parent, name) = self.parent_of(path)?;
        self.change(parent, Change::Unlink { name })
    }

    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        let directory = self.directory_mut(id)?;
        for change in directory.unsynced.drain(..) {
            apply(&mut directory.durable, change);
        }
        Ok(())
    }

    /// Forgets what was not synced, as far as the random numbers say, and returns the bytes left.
    pub(super) fn crash(&mut self, random: &mut Random) -> u64 {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(inode) => inode.lock().crash(random),
                Node::Directory(directory) => {
                    // A journal keeps the changes of a directory in their order.
                    let changes = std::mem::take(&mut directory.unsynced);
                    let kept = match random.below(3) {
                        0 => 0,
                        1 => changes.len() as u64,
                        _ => random.below(changes.len() as u64 + 1),
                    };
                    for (_, change) in (0..kept).zip(changes) {
                        apply(&mut directory.durable, change);
                    }
                    directory.current.clone_from(&directory.durable);
                }
            }
        }
        self.drop_unreachable();
        self.nodes.keys().map(|id| self.allocated(*id)).sum()
    }

    fn drop_unreachable(&mut self) {
        let mut reached = BTreeMap::new();
        let mut waiting = vec![ROOT];
        while let Some(id) = waiting.pop() {
            let Some(node) = self.nodes.remove(&id) else {
                continue;
            };
            if let Node::Directory(directory) = &node {
                waiting.extend(directory.current.values());
            }
            reached.insert(id, node);
        }
        self.nodes = reached;
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = self.next_id;
        self.next_id += 1;
        self.nodes.insert(id, node);
        id
    }

    fn change(&mut self, directory: NodeId, change: Change) -> io::Result<()> {
        let directory = self.directory_mut(directory)?;
        match &change {
            Change::Link { name, node } => {
                directory.current.insert(name.clone(), *node);
            }
            Change::Unlink { name } => {
                directory.current.remove(name);
            }
            Change::Rename { from, to, node } => {
                directory.current.remove(from);
                directory.current.insert(to.clone(), *node);
            }
        }
        directory.unsynced.push(change);
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<Option<NodeId>> {
        let mut id = ROOT;
        for name in names(path)? {
            let Some(Node::Directory(directory)) = self.nodes.get(&id) else {
                return Ok(None);
            };
            let Some(child) = directory.current.get(name) else {
                return Ok(None);
            };
            id = *child;
        }
        Ok(Some(id))
    }

    fn parent_of(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self
            .find(crate::disk::parent(path))?
            .ok_or(io::ErrorKind::NotFound)?;
        Ok((parent, name.to_owned()))
    }

    fn directory(&self, id: NodeId) -> io::Result<&Directory> {
        match self.nodes.get(&id) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> io::Result<&mut Directory> {
        match self.nodes.get_mut(&id) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn allocated(&self, id: NodeId) -> u64 {
        match self.nodes.get(&id) {
            Some(Node::File(inode)) => inode.lock().allocated(),
            _ => 0,
        }
    }
}

fn apply(entries: &mut Entries, change: Change) {
    match change {
        Change::Link { name, node } => {
            entries.insert(name, node);
        }
        Change::Unlink { name } => {
            entries.remove(&name);
        }
        Change::Rename { from, to, node } => {
            entries.remove(&from);
            entries.insert(to, node);
        }
    }
}

/// The names along a path; `.` and the root are passed over.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?);
            }
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}
