// Passkeys, and nothing else: every page works without this file.
'use strict';

for (const form of document.querySelectorAll('form[data-passkey]')) {
	if (!window.PublicKeyCredential || !PublicKeyCredential.parseRequestOptionsFromJSON) continue;
	form.hidden = false;
	const button = form.querySelector('button');
	const said = form.querySelector('[role=alert]');
	button.addEventListener('click', async () => {
		button.disabled = true;
		said.hidden = true;
		try {
			const answer = await fetch(form.dataset.passkey, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'});
			const options = await answer.json();
			if (!answer.ok) throw new Error(options.detail || 'The server refused.');
			const publicKey = options.publicKey || options;
			const made = 'create' in form.dataset
				? await navigator.credentials.create({publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey)})
				: await navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey)});
			if (!made) throw new Error('No passkey was chosen.');
			if (form.elements.ceremonyId && options.publicKey && options.ceremonyId && form.dataset.passkey.includes('/mfa/')) {
				form.elements.ceremonyId.value = options.ceremonyId;
			}
			form.elements.credential.value = JSON.stringify(made.toJSON());
			form.submit();
		} catch (err) {
			said.textContent = err.name === 'NotAllowedError' ? 'The passkey was not used.' : err.message;
			said.hidden = false;
			button.disabled = false;
		}
	});
}
