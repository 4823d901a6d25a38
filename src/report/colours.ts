/** Colours that stay apart for the colour-blind, for light and for dark ground. */

/** Of series, first to last (Okabe and Ito's, lighter on dark ground). */
export const SERIES: readonly { readonly light: string; readonly dark: string }[] = [
  { light: '#0072b2', dark: '#5ab4f0' },
  { light: '#d55e00', dark: '#ff9450' },
  { light: '#009e73', dark: '#3fd0a4' },
  { light: '#b0508a', dark: '#e7a0cb' },
  { light: '#8a6d00', dark: '#f0d74a' },
];

/** Of a series that stands behind the others. */
export const MUTED = { light: '#767676', dark: '#9a9aa2' };

/** Ten steps of viridis, dark to bright: as light grows, so does the value, in grey too. */
export const RAMP: readonly string[] = [
  '#440154',
  '#482878',
  '#3e4a89',
  '#31688e',
  '#26828e',
  '#1f9e89',
  '#35b779',
  '#6dcd59',
  '#b4de2c',
  '#fde725',
];
