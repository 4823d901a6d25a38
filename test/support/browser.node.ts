import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress } from 'node:zlib';
import { brotli, findChromiumPackage, packageVersion, unpackOnce, unpackTar } from '../../src/gpu/swiftshader.node.ts';

/** What playwright's `launchOptions` takes to start a Chromium whose pages have WebGPU, and where it came from. */
export type Browser = {
  launch: { executablePath: string; args: string[]; env?: Record<string, string> };
  /** One clause for the user. */
  origin: string;
};

/** No sandbox: containers run tests as root. The second flag: without it there is no adapter on Linux. */
const FLAGS = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const FONTS = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
`;

/**
 * Finds a Chromium for tests without downloading one: `PREIMAGE_CHROME`, else the one packaged in
 * `@sparticuz/chromium` (x64 Linux), else Chrome or Chromium where it usually is.
 *
 * @returns How to launch it, or one clause that says why there is none.
 */
export async function findBrowser(): Promise<Browser | { missing: string }> {
  const asked = process.env.PREIMAGE_CHROME;
  if (asked) {
    if (!existsSync(asked)) return { missing: `PREIMAGE_CHROME names ${asked}, which does not exist` };
    return { launch: { executablePath: asked, args: FLAGS }, origin: 'PREIMAGE_CHROME' };
  }
  const { folder, missing } = findChromiumPackage();
  if (folder !== undefined) return packagedChromium(folder);

  const installed = usualPaths().find((path) => existsSync(path));
  if (installed) return { launch: { executablePath: installed, args: FLAGS }, origin: 'installed' };
  return { missing: `${missing}, and no Chrome is where it usually is; PREIMAGE_CHROME=/path/to/chrome names one` };
}

async function packagedChromium(root: string): Promise<Browser> {
  const version = packageVersion(root);
  const bin = (file: string) => join(root, 'bin', file);
  const needed = ['chromium', 'libGLESv2.so', 'libvk_swiftshader.so', 'lib/libnss3.so', 'fonts.conf'];
  const folder = await unpackOnce(`chromium-${version}`, needed, async (into) => {
    await pipeline(
      createReadStream(bin('chromium.br')),
      createBrotliDecompress({ chunkSize: 2 ** 21 }),
      createWriteStream(join(into, 'chromium'), { mode: 0o755 }),
    );
    for (const archive of ['swiftshader.tar.br', 'al2023.tar.br', 'fonts.tar.br']) {
      await unpackTar(await brotli(bin(archive)), into);
    }
    await writeFile(join(into, 'fonts.conf'), FONTS);
  });
  // Its own copies of NSS and friends: a bare container has none, and apt is not asked.
  const libraries = [join(folder, 'lib'), process.env.LD_LIBRARY_PATH].filter(Boolean).join(':');
  const env = { ...(process.env as Record<string, string>), LD_LIBRARY_PATH: libraries, FONTCONFIG_PATH: folder };
  const launch = { executablePath: join(folder, 'chromium'), args: FLAGS, env };
  return { launch, origin: `@sparticuz/chromium ${version}` };
}

function usualPaths(): string[] {
  const { PROGRAMFILES, LOCALAPPDATA } = process.env;
  switch (process.platform) {
    case 'darwin':
      return ['Google Chrome', 'Chromium'].map((name) => `/Applications/${name}.app/Contents/MacOS/${name}`);
    case 'win32':
      return [PROGRAMFILES, LOCALAPPDATA].flatMap((root) =>
        root ? [join(root, 'Google', 'Chrome', 'Application', 'chrome.exe')] : [],
      );
    default:
      return ['google-chrome', 'google-chrome-stable', 'chromium', 'chromium-browser'].map(
        (name) => `/usr/bin/${name}`,
      );
  }
}
