import { folderCache } from '../io/cache.node.ts';
import type { LensOptions } from '../lens/store.ts';
import type { SharedOptions } from './options.ts';
import { isChatty } from './session.ts';
import { note, type Progress, progressBar, warn } from './terminal.ts';

/** Tells of the fit of a lens, should one be needed. */
export interface LensProgress {
  /** For whatever asks for lenses: the cache of this machine, and whom to tell. */
  readonly lens: LensOptions;
  /** Forward passes of 128 tokens that fits have taken so far. */
  forwards(): number;
  /** Takes the bar away; to be called before anything else is shown. */
  end(): void;
}

export function lensProgress(options: Pick<SharedOptions, 'json' | 'quiet'>, signal?: AbortSignal): LensProgress {
  let bar: Progress | undefined;
  let before = 0;
  let current = 0;
  return {
    lens: {
      cache: folderCache(),
      signal,
      onFit(layers) {
        before += current;
        current = 0;
        if (!isChatty(options)) return;
        const which = layers.length === 1 ? `lens of layer ${layers[0]}` : `lenses of layers ${layers.join(', ')}`;
        note(`Fitting the ${which}, once for this model: about 60 forward passes of 128 tokens ...`);
        bar = progressBar('passes', true, (value) => value.toFixed(0));
      },
      onProgress(done, total) {
        current = done;
        bar?.update(done, total);
      },
      onCacheError: (error) => warn(`the lens is used, but could not be kept for the next time. ${error.message}`),
    },
    forwards: () => before + current,
    end() {
      bar?.stop();
      bar = undefined;
    },
  };
}
