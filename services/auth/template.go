package auth

import "strings"

// text is a message in one language; {name} and {code} are filled in.
type text struct{ subject, body string }

// templates are the messages auth sends, by name and language.
var templates = map[string]map[string]text{
	"verify_email": {
		"en": {"Your Manas360 code", "Hello {name},\n\nyour code is {code}. It is good for 10 minutes. If you did not ask for it, ignore this message.\n"},
		"hi": {"आपका Manas360 कोड", "नमस्ते {name},\n\nआपका कोड {code} है। यह 10 मिनट तक मान्य है। यदि आपने इसे नहीं माँगा, तो इस संदेश को अनदेखा करें।\n"},
		"kn": {"ನಿಮ್ಮ Manas360 ಕೋಡ್", "ನಮಸ್ಕಾರ {name},\n\nನಿಮ್ಮ ಕೋಡ್ {code}. ಇದು 10 ನಿಮಿಷಗಳವರೆಗೆ ಮಾನ್ಯ. ನೀವು ಕೇಳಿರದಿದ್ದರೆ ಈ ಸಂದೇಶವನ್ನು ನಿರ್ಲಕ್ಷಿಸಿ.\n"},
		"ta": {"உங்கள் Manas360 குறியீடு", "வணக்கம் {name},\n\nஉங்கள் குறியீடு {code}. இது 10 நிமிடங்களுக்கு செல்லும். நீங்கள் கேட்கவில்லை எனில் இந்தச் செய்தியைப் புறக்கணிக்கவும்.\n"},
		"te": {"మీ Manas360 కోడ్", "నమస్కారం {name},\n\nమీ కోడ్ {code}. ఇది 10 నిమిషాలు చెల్లుతుంది. మీరు అడగకపోతే ఈ సందేశాన్ని పట్టించుకోకండి.\n"},
	},
	"account_exists": {
		"en": {"You already have an account", "Hello {name},\n\nsomeone tried to register with your address, but you have an account already. If it was you, sign in. Otherwise there is nothing to do.\n"},
		"hi": {"आपका खाता पहले से है", "नमस्ते {name},\n\nकिसी ने आपके पते से पंजीकरण करने की कोशिश की, पर आपका खाता पहले से है। यदि वह आप थे, तो साइन इन करें। अन्यथा कुछ करने की आवश्यकता नहीं है।\n"},
		"kn": {"ನಿಮಗೆ ಈಗಾಗಲೇ ಖಾತೆ ಇದೆ", "ನಮಸ್ಕಾರ {name},\n\nಯಾರೋ ನಿಮ್ಮ ವಿಳಾಸದಿಂದ ನೋಂದಾಯಿಸಲು ಪ್ರಯತ್ನಿಸಿದ್ದಾರೆ, ಆದರೆ ನಿಮಗೆ ಈಗಾಗಲೇ ಖಾತೆ ಇದೆ. ಅದು ನೀವಾಗಿದ್ದರೆ ಸೈನ್ ಇನ್ ಮಾಡಿ. ಇಲ್ಲದಿದ್ದರೆ ಏನೂ ಮಾಡಬೇಕಿಲ್ಲ.\n"},
		"ta": {"உங்களுக்கு ஏற்கெனவே கணக்கு உள்ளது", "வணக்கம் {name},\n\nயாரோ உங்கள் முகவரியுடன் பதிவு செய்ய முயன்றார்கள், ஆனால் உங்களுக்கு ஏற்கெனவே கணக்கு உள்ளது. அது நீங்கள் எனில் உள்நுழையவும். இல்லையெனில் எதுவும் செய்ய வேண்டாம்.\n"},
		"te": {"మీకు ఇప్పటికే ఖాతా ఉంది", "నమస్కారం {name},\n\nఎవరో మీ చిరునామాతో నమోదు చేయడానికి ప్రయత్నించారు, కానీ మీకు ఇప్పటికే ఖాతా ఉంది. అది మీరే అయితే సైన్ ఇన్ చేయండి. లేకపోతే ఏమీ చేయనవసరం లేదు.\n"},
	},
	"session_reuse": {
		"en": {"We ended one of your sessions", "Hello {name},\n\na sign-in of yours was used from two places, so it may have been copied. We ended that session. Sign in again, and change your password if you do not know why.\n"},
		"hi": {"हमने आपका एक सत्र समाप्त किया", "नमस्ते {name},\n\nआपका एक साइन-इन दो जगहों से उपयोग हुआ, संभव है उसकी नकल हुई हो। हमने वह सत्र समाप्त कर दिया। फिर से साइन इन करें, और कारण न पता हो तो पासवर्ड बदलें।\n"},
		"kn": {"ನಿಮ್ಮ ಒಂದು ಸೆಷನ್ ಅನ್ನು ಕೊನೆಗೊಳಿಸಿದ್ದೇವೆ", "ನಮಸ್ಕಾರ {name},\n\nನಿಮ್ಮ ಒಂದು ಸೈನ್-ಇನ್ ಎರಡು ಕಡೆಗಳಿಂದ ಬಳಕೆಯಾಗಿದೆ, ಅದು ನಕಲಾಗಿರಬಹುದು. ಆ ಸೆಷನ್ ಅನ್ನು ಕೊನೆಗೊಳಿಸಿದ್ದೇವೆ. ಮತ್ತೆ ಸೈನ್ ಇನ್ ಮಾಡಿ, ಕಾರಣ ತಿಳಿಯದಿದ್ದರೆ ಪಾಸ್\u200cವರ್ಡ್ ಬದಲಾಯಿಸಿ.\n"},
		"ta": {"உங்கள் அமர்வு ஒன்றை முடித்தோம்", "வணக்கம் {name},\n\nஉங்கள் உள்நுழைவு ஒன்று இரண்டு இடங்களிலிருந்து பயன்படுத்தப்பட்டது; அது நகலெடுக்கப்பட்டிருக்கலாம். அந்த அமர்வை முடித்தோம். மீண்டும் உள்நுழையவும்; காரணம் தெரியாவிட்டால் கடவுச்சொல்லை மாற்றவும்.\n"},
		"te": {"మీ సెషన్ ఒకటి ముగించాము", "నమస్కారం {name},\n\nమీ సైన్-ఇన్ ఒకటి రెండు చోట్ల నుండి వాడబడింది; అది నకలు అయి ఉండవచ్చు. ఆ సెషన్\u200cను ముగించాము. మళ్లీ సైన్ ఇన్ చేయండి; కారణం తెలియకపోతే పాస్\u200cవర్డ్ మార్చండి.\n"},
	},
	"account_suspended": {
		"en": {"Your account is suspended", "Hello {name},\n\nyour Manas360 account has been suspended and you have been signed out everywhere. Write to support if you think this is a mistake.\n"},
		"hi": {"आपका खाता निलंबित है", "नमस्ते {name},\n\nआपका Manas360 खाता निलंबित कर दिया गया है और आप हर जगह से साइन आउट हो गए हैं। यदि यह गलती है तो सहायता से संपर्क करें।\n"},
		"kn": {"ನಿಮ್ಮ ಖಾತೆಯನ್ನು ಅಮಾನತುಗೊಳಿಸಲಾಗಿದೆ", "ನಮಸ್ಕಾರ {name},\n\nನಿಮ್ಮ Manas360 ಖಾತೆಯನ್ನು ಅಮಾನತುಗೊಳಿಸಲಾಗಿದೆ ಮತ್ತು ಎಲ್ಲೆಡೆ ಸೈನ್ ಔಟ್ ಮಾಡಲಾಗಿದೆ. ಇದು ತಪ್ಪು ಎನಿಸಿದರೆ ಬೆಂಬಲಕ್ಕೆ ಬರೆಯಿರಿ.\n"},
		"ta": {"உங்கள் கணக்கு இடைநிறுத்தப்பட்டது", "வணக்கம் {name},\n\nஉங்கள் Manas360 கணக்கு இடைநிறுத்தப்பட்டு, எல்லா இடங்களிலும் வெளியேற்றப்பட்டீர்கள். இது தவறு எனில் ஆதரவுக் குழுவுக்கு எழுதவும்.\n"},
		"te": {"మీ ఖాతా నిలిపివేయబడింది", "నమస్కారం {name},\n\nమీ Manas360 ఖాతా నిలిపివేయబడింది, మీరు అన్ని చోట్ల సైన్ అవుట్ అయ్యారు. ఇది పొరపాటు అనుకుంటే సహాయ బృందానికి రాయండి.\n"},
	},
}

// render writes a message in its reader's language, else in English.
func render(m mail) (subject, body string) {
	t, ok := templates[m.Template][m.Locale]
	if !ok {
		t = templates[m.Template]["en"]
	}
	fill := strings.NewReplacer("{name}", m.Name, "{code}", m.Code)
	return t.subject, fill.Replace(t.body)
}
