// `make site-look`: pages of build/site in a real Chromium. Screenshots, console errors, requests to other hosts, and what
// axe-core says of each page, light and dark. Needs chromium and node; axe-core and puppeteer-core come from npm.
import { createServer } from 'node:http';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import axe from 'axe-core';
import puppeteer from 'puppeteer-core';

const [site, target, chromium] = process.argv.slice(2);
const PAGES = {
  start: '', guides: 'guides/', role: 'roles/redis/', runbook: 'runbooks/RedisDown/', architecture: 'architecture/',
  releases: 'releases/', changelog: 'changelog/',
};
const TYPES = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.json': 'application/json', '.svg': 'image/svg+xml', '.png': 'image/png' };
const PARTS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'];

const server = createServer(async (request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname));
  const file = join(site, path.endsWith('/') ? `${path}index.html` : path);
  try {
    const body = await readFile(file);
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const home = `http://127.0.0.1:${server.address().port}/`;
await mkdir(target, { recursive: true });
const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox'] });
const faults = [];
const report = {};
for (const scheme of ['light', 'dark']) {
  const context = await browser.createBrowserContext(); // the theme remembers the scheme of the first visit
  for (const [name, path] of Object.entries(PAGES)) {
    const page = await context.newPage();
    const tell = (what) => faults.push(`${name}, ${scheme}: ${what}`);
    page.on('console', (message) => message.type() === 'error' && tell(`console: ${message.text()}`));
    page.on('pageerror', (error) => tell(`script: ${error.message}`));
    page.on('request', (request) => !request.url().startsWith(home) && !request.url().startsWith('data:') && tell(`asks ${request.url()}`));
    page.on('response', (response) => response.status() >= 400 && tell(`${response.status()} for ${response.url()}`));
    await page.setViewport({ width: 1280, height: 900 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.goto(home + path, { waitUntil: 'networkidle0' });
    await page.screenshot({ path: join(target, `${name}-${scheme}.png`) });
    await page.evaluate(axe.source);
    const found = await page.evaluate((tags) => axe.run({ runOnly: tags }), PARTS);
    report[`${name}-${scheme}`] = found.violations;
    for (const one of found.violations) tell(`axe ${one.id} (${one.nodes.length}): ${one.nodes[0].html.slice(0, 160)}`);
    if (name === 'start' && scheme === 'light') {
      // By the keyboard alone: / opens the search, what is typed finds, Enter leads there
      await page.keyboard.press('/');
      await page.keyboard.type('redis_maxmemory', { delay: 20 });
      await page.waitForSelector('.md-search-result__link', { timeout: 15000 }).catch(() => tell('search finds nothing'));
      await page.screenshot({ path: join(target, 'search.png') });
      await page.setViewport({ width: 390, height: 844 });
      await page.goto(home, { waitUntil: 'networkidle0' });
      await page.screenshot({ path: join(target, 'start-phone.png') });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
      if (wide) tell('scrolls sideways on a phone');
    }
    if (scheme === 'dark' && await page.evaluate(() => document.body.dataset.mdColorScheme) !== 'slate') tell('is not dark');
    await page.close();
  }
}
await browser.close();
server.close();
await writeFile(join(target, 'axe.json'), JSON.stringify(report, null, 1));
process.stdout.write(`${Object.keys(PAGES).length} pages, light and dark, looked at: ${target}\n`);
if (faults.length) {
  process.stderr.write(`${[...new Set(faults)].join('\n')}\n`);
  process.exit(1);
}
