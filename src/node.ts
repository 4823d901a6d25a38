/** preimage under Node: everything of the browser-safe face, and Dawn, files and the download cache. */

export { createNodeContext } from './gpu/context.node.ts';
export { type NodeAdapterChoice, requestNodeAdapter } from './gpu/dawn.node.ts';
export * from './index.ts';
export { type FolderStore, folderStore, type StoredJob } from './injectivity/store.node.ts';
export { folderCache } from './io/cache.node.ts';
export { fileBytes, folderSource, writeFileAtomic } from './io/folder.node.ts';
export { openTraining, writeTrainingFolder } from './train/folder.node.ts';
