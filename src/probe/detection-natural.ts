import { norm, plus, scaled } from '../linalg/vector.ts';
import type { leads } from './detection-lead.ts';
import type { Vector } from './requests.ts';

const BISECTIONS = 8;

/**
 * A state that forces a token and is as natural as may be: of some natural states the one that says the token most
 * nearly, moved towards a state that forces it, just as far as the margin needs, with its mean and length kept.
 * @param forcing A state without mean that forces the token by the margin (`forcedStates`).
 * @param natural States before `ln_f` to start from.
 */
export function nearNatural(
  leadOf: ReturnType<typeof leads>,
  { token, margin }: { readonly token: number; readonly margin: number },
  forcing: Vector,
  natural: readonly Vector[],
): Vector {
  const start = natural
    .map((state) => ({ state, margin: leadOf(state, token).margin }))
    .reduce((best, one) => (one.margin > best.margin ? one : best));
  if (start.margin >= margin) return start.state;
  const d = forcing.length;
  const mean = start.state.reduce((sum, value) => sum + value, 0) / d;
  const level = start.state.map((value) => value - mean);
  const length = norm(level);
  const towards = scaled(forcing, length / norm(forcing));
  const mixed = (share: number): Vector => {
    const mixture = plus(scaled(level, 1 - share), towards, share);
    return scaled(mixture, length / norm(mixture)).map((value) => value + mean);
  };
  let [low, high] = [0, 1];
  for (let i = 0; i < BISECTIONS; i++) {
    const middle = (low + high) / 2;
    if (leadOf(mixed(middle), token).margin >= margin) high = middle;
    else low = middle;
  }
  return mixed(high);
}
