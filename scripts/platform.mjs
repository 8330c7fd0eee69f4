/** The system that this runs on, found or refused. */
import { SetupError } from './setup-error.mjs';

/** PyTorch's own packages for Linux are made for this glibc (manylinux_2_28). */
const GLIBC = '2.28';

/** The newest symbols that such systems have; the C++ runtime is GCC 8's. What is packed asks for no newer ones. */
export const OLDEST = { GLIBC, GLIBCXX: '3.4.25', CXXABI: '1.3.11' };

/** @typedef {{ platform: string, arch: string, glibc: string | null }} Platform */

/** @returns {Platform} */
export function thisPlatform() {
  return { platform: process.platform, arch: process.arch, glibc: glibcVersion() };
}

/** @returns {string | null} null where there is none: musl, or no Linux */
function glibcVersion() {
  if (process.platform !== 'linux') return null;
  // Resolving the names of open sockets would make the report slow.
  if ('excludeNetwork' in process.report) process.report.excludeNetwork = true;
  const report = /** @type {{ header?: { glibcVersionRuntime?: string } }} */ (process.report.getReport());
  return report.header?.glibcVersionRuntime ?? null;
}

/** @param {Platform} [platform] */
export function checkPlatform({ platform, arch, glibc } = thisPlatform()) {
  const runs = platform === 'linux' && arch === 'x64' && glibc !== null && compareVersions(glibc, GLIBC) >= 0;
  if (runs) return;
  const libc = platform === 'linux' ? `, ${glibc ? `glibc ${glibc}` : 'a C library other than glibc (musl?)'}` : '';
  throw new SetupError('ERR_PLATFORM_UNSUPPORTED', 'cortorch does not run on this system.', {
    found: `${platform} on ${arch}${libc}`,
    needed: `Linux on x64 with glibc ${GLIBC} or newer (Debian 10, Ubuntu 20.04, RHEL 8 and later)`,
    remedies: ['on Windows or a Mac: a Linux x64 container, such as docker run -it node:22-bookworm'],
  });
}

/** @param {string} a @param {string} b */
export function compareVersions(a, b) {
  const part = (/** @type {string} */ text, /** @type {number} */ i) => Number(text.split('.')[i]) || 0;
  return part(a, 0) - part(b, 0) || part(a, 1) - part(b, 1) || part(a, 2) - part(b, 2);
}
