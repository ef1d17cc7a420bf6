// Checks of a report in a browser; .ci/report_page says which.
// usage: node report_page.cjs CHROMIUM PAGE.html [FOLDER]
"use strict";
const puppeteer = require("puppeteer-core");
const axe = require("axe-core");
const path = require("path");
const { pathToFileURL } = require("url");

const [chromium, file, folder] = process.argv.slice(2);
const url = pathToFileURL(file).href;
const sizes = [[1280, 900], [800, 1100], [390, 844], [360, 740]];
// Widths at which axe-core runs: the two layouts.
const audited = [1280, 390];
const problems = [];

// Texts of the visible figures that overlap one another, or reach beyond their figure or page.
function textProblems() {
  const found = [];
  for (const svg of document.querySelectorAll("svg.chart")) {
    const frame = svg.getBoundingClientRect();
    if (frame.width === 0) continue;
    const boxes = [...svg.querySelectorAll("text")].map((text) => {
      const box = text.getBoundingClientRect();
      // The height of a line is more than that of its letters.
      const inset = text.hasAttribute("transform") ? null : box.height * 0.18;
      return { text: text.textContent, box, inset };
    });
    for (const { text, box } of boxes) {
      const cut = box.left < frame.left - 1 || box.right > frame.right + 1 ||
        box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
      if (cut) found.push(`${svg.querySelector("title").textContent}: "${text}" is cut`);
    }
    const flat = boxes.filter((one) => one.inset !== null && one.text !== "");
    flat.forEach((one, at) => flat.slice(at + 1).forEach((other) => {
      const apart = one.box.right <= other.box.left || other.box.right <= one.box.left ||
        one.box.bottom - one.inset <= other.box.top + other.inset ||
        other.box.bottom - other.inset <= one.box.top + one.inset;
      if (!apart) {
        const title = svg.querySelector("title").textContent;
        found.push(`${title}: "${one.text}" overlaps "${other.text}"`);
      }
    }));
  }
  return found;
}

// Presses the buttons of data; returns what is wrong with their files.
async function fileProblems() {
  const found = [];
  const blobs = [];
  const create = URL.createObjectURL;
  URL.createObjectURL = (blob) => { blobs.push(blob); return create.call(URL, blob); };
  HTMLAnchorElement.prototype.click = function () {};
  for (const button of document.querySelectorAll("button[data-source]")) {
    blobs.length = 0;
    button.click();
    const text = blobs.length === 1 ? await blobs[0].text() : "";
    const lines = text.split("\r\n");
    if (lines.length < 2 || /undefined|\[object|NaN/.test(text)) {
      found.push(`${button.dataset.file}: not a CSV file: ${text.slice(0, 80)}`);
    }
  }
  return found;
}

async function check(browser, scheme, [width, height]) {
  const name = `${width}-${scheme}`;
  const say = (text) => problems.push(`${name}: ${text}`);
  // Each view is a visit of its own: no theme is remembered.
  const visit = await browser.createBrowserContext();
  const page = await visit.newPage();
  await page.setViewport({ width, height, deviceScaleFactor: width < 500 ? 2 : 1 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) say(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => say(`script: ${error.message}`));
  page.on("request", (request) => {
    if (!/^(file|data|blob):/.test(request.url())) say(`request: ${request.url()}`);
  });
  await page.goto(url, { waitUntil: "load" });
  if (folder) await page.screenshot({ path: path.join(folder, `${name}-first.png`) });
  const overflow = await page.evaluate(() =>
    document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (overflow > 0) say(`the page is ${overflow} pixels wider than the window`);
  for (const text of await page.evaluate(textProblems)) say(text);
  if (folder) await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });

  if (audited.includes(width)) await audit(page, name, say);
  if (width === 1280) {
    await page.click("button.theme");
    const theme = await page.evaluate(() => document.documentElement.dataset.theme);
    if (theme !== "light") say(`the theme button gives ${theme}`);
    for (const text of await page.evaluate(fileProblems)) say(text);
  }
  await visit.close();
}

// Runs axe-core with everything unfolded; prints findings that are not serious.
async function audit(page, name, say) {
  await page.evaluate(() => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  await page.evaluate(axe.source);
  const result = await page.evaluate(() => window.axe.run(document));
  for (const violation of result.violations) {
    const serious = ["serious", "critical"].includes(violation.impact);
    const nodes = violation.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join("\n    ");
    const text = `axe ${violation.impact}: ${violation.id}: ${violation.help}\n    ${nodes}`;
    if (serious) say(text); else console.log(`${name}: ${text}`);
  }
}

async function main() {
  const browser = await puppeteer.launch({
    executablePath: chromium,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--font-render-hinting=none",
      "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"],
    protocolTimeout: 600000,
  });
  try {
    for (const scheme of ["light", "dark"]) {
      for (const size of sizes) await check(browser, scheme, size);
    }
    if (folder) {
      const page = await browser.newPage();
      await page.goto(url, { waitUntil: "load" });
      const file = path.join(folder, "page.pdf");
      await page.pdf({ path: file, format: "A4", preferCSSPageSize: true });
    }
  } finally {
    await browser.close();
  }
  for (const problem of problems) console.log(problem);
  const count = sizes.length * 2;
  console.log(`${path.basename(file)}: ${problems.length} problems in ${count} views`);
  process.exitCode = problems.length > 0 ? 1 : 0;
}

main().catch((error) => { console.error(error); process.exitCode = 1; });
