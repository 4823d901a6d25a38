import { dot } from '../linalg/dense.ts';
import { type Factored, factored } from '../linalg/lu.ts';
import { difference, norm, plus, scaled } from '../linalg/vector.ts';
import { gmres } from './gmres.ts';
import { branch, type Problem, sizeOf } from './problem.ts';
import { ask, type Search, type Vector } from './requests.ts';

/** How a path is followed. */
export interface PathOptions {
  /**
   * What corrects a step: `gmres` needs derivatives along a few vectors; `lu` a whole Jacobian a step, and in return it
   * sees the orientation, and so whether the path was left for another.
   */
  readonly corrector: 'gmres' | 'lu';
  /** Of a step, in arclength. */
  readonly longestStep: number;
  /** Rows after which it gives up. */
  readonly budget: number;
  /** Follows the path past s = 1, up to this s, and collects every crossing; default: the first one ends it. */
  readonly beyond?: number;
  /** Goes on where another attempt at the same path ended, if the orientation there is right; needs `lu`. */
  readonly resume?: Pick<PathResult, 'last' | 'points'>;
  /** Called at each accepted point. */
  readonly onPoint?: (point: PathPoint) => void;
}

/** A point of a path. */
export interface PathPoint {
  readonly s: number;
  /** From the start, in units of |f(start) + start - y| for x and of 1 for s. */
  readonly arclength: number;
}

/** Where a path led. */
export interface PathResult {
  /** Solutions at s = 1: the first one, or all up to `beyond`, with the residual |g(x) - y| / |y| of each. */
  readonly crossings: readonly { readonly x: Vector; readonly residual: number; readonly direction: -1 | 1 }[];
  readonly points: readonly PathPoint[];
  /** Turns of the path in s. */
  readonly folds: number;
  /** Steps taken back. */
  readonly rejected: number;
  /** Steps taken back because the orientation had changed. */
  readonly jumps: number;
  /** The last point on it. */
  readonly last: Place;
}

const FIRST_STEP = 0.25;
const SHORTEST_STEP = 1e-5;
/** A step no longer than this is taken though the path turns sharply in it, or crosses s = 1 with no solution found. */
const FINE_STEP = 1e-3;
const MOST_STEPS = 3000;
/** A point is on the path when |H| is at most this share of the scale. */
const ON_PATH = 1e-3;
/** Corrections of a point, and one of the last. */
const MOST_CORRECTIONS = { gmres: 8, lu: 14 };
/** GMRES solves to this share of the residual, in so many products. */
const INEXACT = 0.1;
const MOST_PRODUCTS = 40;
const TRUE_TANGENT = 0.02;
/** Cosine between one tangent and the next below which a step was too long. */
const SHARPEST_TURN = 0.3;

/** A point (x / scale, s) with its tangent, both of d + 1 numbers. */
export interface Place {
  readonly w: Vector;
  readonly tangent: Vector;
  /** Solved for rather than extrapolated. */
  readonly isTrue?: boolean;
}

/** What a point is corrected by: H = 0 and border . (z - base) = distance. */
interface Hyperplane {
  readonly border: Vector;
  readonly base: Vector;
  readonly distance: number;
}

/** A point on the path, and what it took. */
interface Corrected {
  readonly z: Vector;
  readonly corrections: number;
  /** |H| / scale */
  readonly residual: number;
}

/**
 * Follows the solutions of H(x, s) = x + s f(x) - (1 - s) start - s y = 0 from (start, 0) by pseudo-arclength
 * continuation (Keller 1977), where f(x) = g(x) - x. For start = y this is x + s f(x) = y: with f bounded, as of a
 * pre-LN block, all of it lies in |x - y| <= s M, it cannot return to s = 0, and so it reaches s = 1 (arXiv 2508.19445;
 * the derivation stands in README.md). On the way it may fold back in s: hence arclength.
 */
export function* followPath(problem: Problem, options: PathOptions): Search<PathResult> {
  const { step, y, start = y, tolerance, floor } = problem;
  const { corrector, longestStep, budget, beyond = 1, resume, onPoint } = options;
  const d = y.length;
  const size = sizeOf(y);
  const towards = difference(start, y); // start - y
  let rows = 0;

  const f0 = yield* at(start);
  // x is measured in units of what s moves it by, so that arclength sees both.
  const scale = Math.max(norm(plus(f0, towards)), ON_PATH * size);
  const rounding = (floor * Math.max(size, norm(f0))) / scale;
  const unscaled = (w: Vector) => w.subarray(0, d).map((value) => scale * value);
  const column = (f: Vector) => plus(f, towards).map((value) => value / scale); // dH/ds / scale
  const end = unit(d + 1, d);
  const atEnd: Hyperplane = { border: end, base: end, distance: 0 }; // s = 1

  let place: Place = { w: joined(scaled(start, 1 / scale), 0), tangent: unitary(joined(scaled(column(f0), -1), 1)) };
  let factors = corrector === 'lu' ? factorsAt(column(f0), place.tangent) : undefined;
  const before: Place[] = []; // the last two
  const points: PathPoint[] = resume ? [...resume.points] : [{ s: 0, arclength: 0 }];
  const crossings: { x: Vector; residual: number; direction: -1 | 1 }[] = [];
  let [folds, rejected, jumps, length] = [0, 0, 0, FIRST_STEP];
  let { arclength } = points[points.length - 1];
  let heading = 1; // of s along the path
  const result = (): PathResult => ({ crossings, points, folds, rejected, jumps, last: place });
  if (resume) {
    const { w, tangent } = resume.last;
    factors = yield* factor(w, tangent);
    if (factors.sign < 0) return { ...result(), jumps: 1 };
    place = { w, tangent: unitary(factors.solve(end)) };
    heading = Math.sign(place.tangent[d]) || 1;
  }

  for (let count = 0; count < MOST_STEPS && rows < budget && length >= SHORTEST_STEP; count++) {
    const { w, tangent } = place;
    let taken = length;
    let predicted = predict(taken);
    const isLast = beyond === 1 && w[d] < 1 && predicted[d] >= 1 - 0.02 * taken;
    if (isLast) {
      taken = reach(1.05 * taken);
      predicted = predict(taken);
      predicted[d] = 1;
    }
    const plane = isLast ? atEnd : { border: tangent, base: w, distance: taken };
    let corrected = yield* correct(predicted, plane, isLast);
    const crosses = corrected !== undefined && (w[d] - 1) * (corrected.z[d] - 1) < 0;
    if (corrected && isLast) return finish(corrected);
    let crossing: Corrected | undefined;
    if (corrected && crosses) {
      // Newton on the crossing itself: the curve may turn back behind it.
      const { z } = corrected;
      const between = plus(w, difference(z, w), (1 - w[d]) / (z[d] - w[d]));
      between[d] = 1;
      crossing = yield* correct(between, atEnd, true);
      if (crossing && beyond === 1) return finish(crossing);
      if (!crossing && (beyond === 1 || length > FINE_STEP)) corrected = undefined;
    }
    if (corrected && norm(difference(corrected.z, w)) < 0.3 * taken) corrected = undefined;
    if (!corrected) {
      rejected++;
      if (corrector === 'gmres' && !place.isTrue) place = yield* refined(place);
      else length = Math.min(length, taken) / 2;
      continue;
    }
    const { z, corrections } = corrected;
    const secant = unitary(difference(z, w));
    const next = corrector === 'lu' ? yield* factor(z, tangent) : undefined;
    if (next && next.sign < 0) {
      rejected++;
      jumps++;
      length = Math.min(length, taken) / 3;
      continue;
    }
    const turned = next ? unitary(next.solve(end)) : extrapolated(secant, z);
    const cosine = dot(turned, tangent);
    if (!(cosine >= SHARPEST_TURN) && length > FINE_STEP) {
      rejected++;
      length = Math.min(length, taken) / 2;
      continue;
    }
    if (z[d] < -1e-9) break; // no solution lies there: the path was left
    noteHeading(next ? turned[d] : secant[d]);
    if (crossing) record(crossing, z[d] > w[d] ? 1 : -1);
    before.push(place);
    if (before.length > 2) before.shift();
    place = { w: z, tangent: turned };
    factors = next;
    arclength += norm(difference(z, w));
    points.push({ s: z[d], arclength });
    onPoint?.(points[points.length - 1]);
    if (z[d] > beyond) break;
    const growth =
      corrections <= 3 && cosine > 0.9 ? 2 : corrections <= 5 && cosine > 0.8 ? 1.3 : corrections <= 8 ? 1 : 0.7;
    length = Math.min(length * growth, longestStep);
  }
  return result();

  /** f at x, and counts the row. */
  function* at(x: Vector, kind: 'value' | 'linearize' = 'value'): Search<Vector> {
    rows++;
    return yield* branch(step, x, kind);
  }

  /** Counts a fold where s turns. */
  function noteHeading(ds: number): void {
    if (ds * heading >= 0) return;
    folds++;
    heading = -heading;
  }

  function record({ z, residual }: Corrected, direction: -1 | 1): void {
    crossings.push({ x: unscaled(z), residual: (residual * scale) / size, direction });
  }

  function finish(crossing: Corrected): PathResult {
    noteHeading(1);
    record(crossing, 1);
    points.push({ s: 1, arclength: arclength + norm(difference(crossing.z, place.w)) });
    onPoint?.(points[points.length - 1]);
    return result();
  }

  /** The path continued by a step: through the last two points and tangents, or three points; or straight on. */
  function predict(h: number): Vector {
    const { w, tangent } = place;
    const straight = plus(w, tangent, h);
    const last = before.at(-1);
    if (!last) return straight;
    const H = norm(difference(w, last.w));
    let curved: Vector;
    if (corrector === 'lu') {
      // Cubic, by Hermite: w at 0, the point before at -H.
      const back = difference(last.w, w);
      const square = plus(scaled(back, 3 / H ** 2), plus(scaled(tangent, 2), last.tangent), 1 / H);
      const cube = plus(scaled(back, 2 / H ** 3), plus(tangent, last.tangent), 1 / H ** 2);
      curved = plus(plus(straight, square, h ** 2), cube, h ** 3);
    } else if (place.isTrue) {
      curved = plus(straight, plus(difference(last.w, w), tangent, H), (h / H) ** 2);
    } else {
      const first = before.at(-2);
      if (!first) return straight;
      const [a, b] = [scaled(difference(w, last.w), 1 / H), unitary(difference(last.w, first.w))];
      const bend = scaled(difference(a, b), 1 / (H + norm(difference(last.w, first.w))));
      curved = plus(plus(w, a, h), bend, h * (h + H));
    }
    return norm(difference(curved, straight)) < 0.5 * h ? curved : straight;
  }

  /** The step after which the predicted s is 1. */
  function reach(longest: number): number {
    let [low, high] = [0, longest];
    for (let i = 0; i < 40; i++) {
      const middle = (low + high) / 2;
      if (predict(middle)[d] < 1) low = middle;
      else high = middle;
    }
    return high;
  }

  /** The tangent where the last secant and the one before it are continued to. */
  function extrapolated(secant: Vector, z: Vector): Vector {
    const last = before.at(-1);
    if (!last) return unitary(plus(scaled(secant, 2), place.tangent, -1));
    const [H, H0] = [norm(difference(z, place.w)), norm(difference(place.w, last.w))];
    const earlier = unitary(difference(place.w, last.w));
    return unitary(plus(secant, difference(secant, earlier), H / (H + H0)));
  }

  /** Newton's method on H = 0 and the hyperplane; undefined where it does not converge, or leaves the neighbourhood. */
  function* correct(
    predicted: Vector,
    { border, base, distance }: Hyperplane,
    isLast: boolean,
  ): Search<Corrected | undefined> {
    const within = isLast ? (tolerance * size) / scale : ON_PATH;
    const history: number[] = [];
    let z = predicted;
    let moved = 0;
    let best = { z, residual: Number.POSITIVE_INFINITY };
    for (let k = 0; k < MOST_CORRECTIONS[corrector]; k++) {
      const x = unscaled(z);
      const f = yield* at(x, corrector === 'gmres' ? 'linearize' : 'value');
      // H / scale = (x + s f - (1 - s) start - s y) / scale
      const h = plus(difference(x, start), plus(f, towards), z[d]).map((value) => value / scale);
      const miss = dot(border, difference(z, base)) - distance;
      const residual = norm(h);
      if (!Number.isFinite(residual)) return undefined;
      if (residual < best.residual) best = { z, residual };
      if (residual <= within && Math.abs(miss) < 1e-6 + 1e-3 * Math.abs(distance))
        return { z, corrections: k, residual };
      history.push(Math.hypot(residual, miss));
      const [now, last = Number.POSITIVE_INFINITY, earlier = Number.POSITIVE_INFINITY] = history.slice(-3).reverse();
      if (k >= 2 && isLast && now > 0.5 * last && best.residual <= rounding) return { ...best, corrections: k };
      if (k >= 2 && now > 0.7 * last && last > 0.7 * earlier) return undefined;
      const right = scaled(joined(h, miss), -1);
      const c = column(f);
      const move =
        corrector === 'gmres'
          ? yield* bordered(right, z[d], c, border, Math.max(INEXACT, (0.1 * within) / now))
          : eliminated(right, border, miss);
      if (!move) return undefined;
      moved += norm(move);
      if (moved > (isLast ? 1.5 * length + 0.05 : Math.max(0.7 * Math.abs(distance), 1e-4))) return undefined;
      z = plus(z, move);
    }
    return isLast && best.residual <= rounding ? { ...best, corrections: MOST_CORRECTIONS[corrector] } : undefined;
  }

  /** The place with its own tangent in place of one that was extrapolated, and led astray. */
  function* refined({ w, tangent }: Place): Search<Place> {
    const c = column(yield* at(unscaled(w), 'linearize'));
    return { w, tangent: unitary(yield* bordered(end, w[d], c, tangent, TRUE_TANGENT)), isTrue: true };
  }

  /** [[H_x, c], [border]] z = right by GMRES where it last linearized, with [[I, c], [border]] for a preconditioner. */
  function* bordered(right: Vector, s: number, c: Vector, border: Vector, tolerance: number): Search<Vector> {
    const head = (v: Vector) => v.subarray(0, d);
    const corner = border[d] - dot(head(border), c);
    function* apply(v: Vector): Search<Vector> {
      rows++;
      const x = head(v);
      const moved = yield* ask({ kind: 'jvp', tangent: x }); // (I + Df) v
      return joined(plus(plus(x, difference(moved, x), s), c, v[d]), dot(border, v));
    }
    const precondition = (v: Vector) => {
      const last = (v[d] - dot(head(border), head(v))) / corner;
      return joined(plus(head(v), c, -last), last);
    };
    return yield* gmres(apply, right, { tolerance, iterations: MOST_PRODUCTS, precondition });
  }

  /** The same system with the factors of the last point, whose border is the tangent there (block elimination). */
  function eliminated(right: Vector, border: Vector, miss: number): Vector | undefined {
    const particular = factors!.solve(joined(right.subarray(0, d), 0));
    const kernel = unitary(factors!.solve(end));
    const along = dot(border, kernel);
    if (!(Math.abs(along) > 1e-6)) return undefined;
    return plus(particular, kernel, (-miss - dot(border, particular)) / along);
  }

  /** Factors at a point: one Jacobian. The sign of their determinant is the orientation of the path. */
  function* factor(w: Vector, tangent: Vector): Search<Factored> {
    const x = unscaled(w);
    rows += 1 + d;
    const { value, rows: jacobian } = yield* ask({ kind: 'jacobian', step, x });
    return factorsAt(column(difference(value, x)), tangent, { jacobian, s: w[d] });
  }

  /** [[(1 - s) I + s Dg, c], [tangent]]; at s = 0 no Jacobian is needed. */
  function factorsAt(c: Vector, tangent: Vector, point?: { jacobian: readonly Vector[]; s: number }): Factored {
    const matrix = Array.from({ length: d }, (_, i) => {
      const row = new Float64Array(d + 1);
      if (point) row.set(scaled(point.jacobian[i], point.s));
      row[i] += 1 - (point?.s ?? 0);
      row[d] = c[i];
      return row;
    });
    return factored([...matrix, tangent.slice()]);
  }
}

function joined(x: Vector, s: number): Vector {
  const w = new Float64Array(x.length + 1);
  w.set(x);
  w[x.length] = s;
  return w;
}

function unit(n: number, i: number): Vector {
  const e = new Float64Array(n);
  e[i] = 1;
  return e;
}

const unitary = (v: Vector): Vector => scaled(v, 1 / norm(v));
