/** Random access to the bytes of one file, wherever it lives. */
export interface ByteSource {
  /** What to call the file in messages: a path or URL. */
  readonly name: string;
  readonly sizeBytes: number;
  /** The bytes [begin, end); rejects with SourceError when fewer can be had. */
  read(begin: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/** A place that holds the files of a model: a folder, a URL prefix, a hub repository, files picked in a browser. */
export interface Source {
  readonly name: string;
  /** Opens a file by its path inside the source; undefined when it has no such file. */
  open(path: string): Promise<ByteSource | undefined>;
  /** Whether the file is there, without fetching it; where absent, `open` has to tell. */
  has?(path: string): Promise<boolean>;
}
