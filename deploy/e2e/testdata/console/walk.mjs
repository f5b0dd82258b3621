// Walks the console in Chromium: every page, both themes, phone and desktop.
// Takes a screenshot of each and lets axe judge it; fails on a violation, on an
// error in the browser's console, on a first view over 60 KB or 6 requests, and
// on a page wider than the phone.
//
//   node walk.mjs BASE CHROMIUM WHO [FOLDER]
//   WHO is {"email": …, "password": …, "recovery": …, "userId": …, "eventId": …}
import {mkdirSync, readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {chromium} from 'playwright-core';

const [base, program, json, folder] = process.argv.slice(2);
const who = JSON.parse(json);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const faults = [];
const root = base + '/console/';

const browser = await chromium.launch({executablePath: program, args: ['--no-sandbox']});
const context = await browser.newContext({bypassCSP: false});
const page = await context.newPage();
page.on('console', m => { if (m.type() === 'error' && !/status of 4/.test(m.text())) faults.push(`${page.url()}: console: ${m.text()}`); });
page.on('pageerror', e => faults.push(`${page.url()}: ${e.message}`));

let requests = 0;
const sizes = [];
page.on('request', r => { requests++; if (!r.url().startsWith(base) && !r.url().startsWith('data:')) faults.push(`asked ${r.url()}`); });
page.on('requestfinished', r => sizes.push(r.sizes().then(s => s.responseBodySize + s.responseHeadersSize)));

async function look(name) {
	for (const theme of ['light', 'dark']) {
		for (const [size, width] of [['phone', 320], ['desktop', 1280]]) {
			await page.emulateMedia({colorScheme: theme, reducedMotion: 'reduce'});
			await page.setViewportSize({width, height: size === 'phone' ? 720 : 900});
			if (folder) {
				mkdirSync(folder, {recursive: true});
				await page.screenshot({path: `${folder}/${name}-${theme}-${size}.png`, fullPage: true});
			}
			const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
			if (wide > 0) faults.push(`${name} ${theme} ${size}: ${wide} px too wide`);
			const client = await context.newCDPSession(page);
			const {result, exceptionDetails} = await client.send('Runtime.evaluate', {
				expression: `${axe};axe.run({resultTypes: ['violations']}).then(r => JSON.stringify(r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.target + ' ' + (n.any[0]?.message || '')).join('; '))))`,
				awaitPromise: true, returnByValue: true,
			});
			await client.detach();
			if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
			for (const v of JSON.parse(result.value)) faults.push(`${name} ${theme} ${size}: axe ${v}`);
		}
	}
}

await page.goto(root, {waitUntil: 'networkidle'});
const bytes = (await Promise.all(sizes)).reduce((a, b) => a + b, 0);
if (requests > 6 + 1 || bytes > 60 * 1024) faults.push(`first view: ${requests} requests (one a redirect), ${bytes} bytes`);
console.log(`first view: ${requests} requests (one of them a redirect), ${bytes} bytes`);
await look('sign-in');
await page.fill('#email', who.email);
await page.fill('#password', 'not the password');
await page.click('form.stack button.main');
await page.waitForSelector('[role=alert]:visible');
await look('sign-in-refused');
await page.fill('#password', who.password);
await page.click('form.stack button.main');
await page.waitForSelector('#code');
await look('second-factor');
await page.fill('#code', who.recovery);
await page.click('form.stack button.main');
await page.waitForSelector('nav.menu');

const pages = {
	overview: '', users: 'users', user: 'users/' + who.userId, therapists: 'therapists', subscriptions: 'subscriptions', payments: 'payments',
	approvals: 'approvals', plans: 'plans', plan: 'plans/premium', audit: 'audit', event: 'audit/' + who.eventId, exports: 'exports',
	operations: 'operations', 'dead-letters': 'dead-letters', roles: 'roles', account: 'account', 'step-up': 'step-up', 'nobody-found': 'users?search=zzzzzzzz', 'not-found': 'nowhere',
	'bad-day': 'audit?from=never',
};
for (const [name, path] of Object.entries(pages)) {
	await page.goto(root + path);
	await page.evaluate(() => document.querySelectorAll('details').forEach((d, i) => { if (i < 2) d.open = true; }));
	await look(name);
}
await browser.close();
for (const f of faults) console.log(f);
console.log(`${Object.keys(pages).length + 3} pages, ${faults.length} faults`);
process.exit(faults.length ? 1 : 0);
