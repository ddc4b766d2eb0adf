"""What is frequent in languages in Latin letters: words by which the code pages are told apart.

Data only, written down from general knowledge; `frequent.py`, the neighbour, has the languages of
other letters. One list has words with a letter outside ASCII, since only these look otherwise in
another page. The other has words without, which are the same in all pages and tell the language.
"""

WORDS = {
    "de": (
        "für über können müssen größe schön natürlich möglich während später früher gehört führt "
        "zurück daß heißt weiß große größer straße wäre hätte würde könnte müsste möchte hören "
        "öffnen öffentlich ähnlich älter ändern änderung übersicht lösung zürich köln münchen "
        "österreich mädchen männer länder städte häuser bücher tür grüße süß fuß spaß schließen "
        "ließ fällt läuft trägt erklärt gegenüber ungültig gültig wählen ausgewählt löschen "
        "gelöscht hinzufügen einfügen ausführen verfügbar benötigt bestätigen geändert schlüssel "
        "zusätzlich fünf zwölf außer außerdem bloß drüben flüsse wörter sätze sprüche tätigkeit "
        "vollständig ständig selbstverständlich nächste nächsten jährlich täglich geräte menü"
    ),
    "fr": (
        "été être même très après où à là déjà première dernière années ça français française "
        "également système problème différent différents différence espèce père mère frère élève "
        "école étude état époque événement développement création général généralement présent "
        "présenté réalisé créé créée utilisé utilisée numéro téléphone société sécurité qualité "
        "activité université région célèbre rôle côté bientôt plutôt forêt fête tête arrêter "
        "connaître naître île maître août goûter sûr dû reçu façon leçon garçon commençait naïf "
        "noël cœur œuvre sœur élèves siècle modèle caractère supplémentaire précédent américain "
        "économie énergie dés étaient était étant déclaré idée année journée pensée prêt intérêt "
        "répondre début décembre février désormais près voilà entrée données paramètre "
        "paramètres désactivé échec réessayer vérifier sélectionné âge tâche château lætitia "
        "capharnaüm"
    ),
    "es": (
        "más también así después años año español española según través está están día días país "
        "sólo sí qué quién cómo cuándo dónde él aquí ahí allí todavía había tenía podía sería "
        "información situación población relación educación dirección función acción número "
        "números último última público pública música política económico histórico técnico único "
        "fácil difícil útil página páginas línea área código contraseña niño niña niños señor "
        "mañana pequeño tamaño compañía campaña enseñar corazón razón atención habitación inglés "
        "francés además jamás detrás interés móvil automático automáticamente válido válida "
        "añadir aún ningún algún común jóvenes árbol vergüenza lingüística tú mí será habrá "
        "edición sesión versión creación opción teléfono categoría película energía filosofía"
    ),
    "ca": (
        "també més però és això què així perquè després són està pàgina número àrea informació "
        "català país història té únic només força començar plaça endreça vàlid opció acció raó "
        "món àmbit sèrie últim dóna il·lusió col·legi à llengües veïns raïm qüestió"
    ),
    "pt": (
        "não são também já está até você então há é à às mãe pão irmão coração informação "
        "situação educação função ação ações informações relação população opções opção "
        "português três após através além alguém ninguém país países início história memória "
        "área número único última público política música código página páginas possível "
        "possíveis disponível fácil difícil útil será estará porém só pé café avó avô vocês mês "
        "lê ciência experiência existência frequência endereço serviço preço força começar "
        "cabeça criança avanço posição configuração usuário usuários necessário obrigatório "
        "válido inválido mínimo máximo técnico sequência inglês estão serão poderão comissão "
        "decisão versão razão nação questão questões regiões saúde língua água família "
        "escritório período dicionário conteúdo módulo título câmara distância"
    ),
    "it": (
        "è più già perché così può città però sarà università attività qualità società realtà "
        "possibilità verità libertà età là lì né sé poiché finché perciò cioè caffè metà virtù "
        "gioventù papà avrà potrà dovrà venerdì lunedì martedì mercoledì giovedì modalità "
        "proprietà unità quantità capacità necessità specialità difficoltà novità identità "
        "facoltà comunità tribù c'è affinché benché à ò ù farà dirà andrà"
    ),
    "nl": (
        "één geïnteresseerd belgië coördinatie ideeën categorieën tweeën drieën geïnstalleerd "
        "reële financiële officiële vóór hé zoölogie efficiënt patiënt geïmporteerd gecreëerd "
        "creëren beïnvloeden industriële essentiële italië australië indonesië zeeën variëren "
        "coöperatie initiële café è scène enquête ruïne egoïstisch reünie"
    ),
    "sv": (
        "är på för från så också när där här då även år åren många första två några större över "
        "före själv själva största världen språk språket människor måste får går står måndag "
        "söndag lösenord användare användarnamn ändra ändringar lägg läggs sök söka öppna stäng "
        "välj väljer gäller händer håll hålla få små stå åter återställ rätt lätt svår därför "
        "varför något någon hjälp källa källor fält försök göra gör kör höra höger vänster "
        "början förändring bör möjligt ändå sådan både låg hög högre långt lång åt båda å ä ö "
        "väg dåligt väldigt äldre tjänst främst föräldrar först idé kafé"
    ),
    "da": (
        "på også når år være været før første største både øvrige gør gøre måde måder må få får "
        "går står således så ændre ændring ændringer tilføj tilføje slå ønsker bør børn område "
        "områder nødvendig nødvendigt længere længde række rækker vælg vælge værdi værdier "
        "spørgsmål hjælp læse mænd københavn århus søge søgning påkrævet kræver gælder gældende "
        "udføre følgende følge høj høje lørdag søndag måned måneder språk måte gjøre søk nøkkel "
        "lønn øst tromsø smør brød hånd bånd århundre ære sær særlig større først nå å ø æ tørke "
        "færøerne forstå grønland kærlighed næste nærmere nær især blå grå små gå stå"
    ),
    "fi": (
        "että tämä tämän tässä tähän myös mitä missä sitä siitä vielä enemmän jälkeen tällä näin "
        "näitä nämä sekä välillä päivä päivää työ työtä käyttää käyttäjä käyttäjän "
        "käyttäjätunnus käytetään lisää lisätty tehdä tehtävä pitää pitäisi täytyy täysin väärin "
        "määrä ensimmäinen äiti isä kävi nähdä pää hyvä hyvää tyttö pöytä yö mikä kenttä näytä "
        "näyttää syötä hyväksy päivämäärä yhä hän häntä hänen älä sää elämä ystävä kylä järvi "
        "metsä kesä syksyllä äänestys täällä siellä kieltä sähköposti yhdessä yhtään åbo eräs"
    ),
    "is": (
        "það að í á við þetta þegar þú ég þeir þær þau því þó með hún eða frá út verið hafði "
        "varð síðan maður maðurinn ár íslensk íslenska ísland orð þjóð lög þá þar höfum hér hvað "
        "mjög góður góð stór nýr sér sína þessi þessu þess þurfa þýðir dæmi æfing öll öðrum "
        "lítið málið fólk dóttir börn veður leið niður upplýsingar lykilorð"
    ),
    "en": (
        "café cafés naïve résumé façade cliché fiancé fiancée touché décor éclair déjà entrée "
        "née coöperate señor jalapeño piñata über soupçon rôle crème brûlée"
    ),
    "pl": (
        "się że są był być może można jeżeli także więc też już które który która których "
        "również między mógł mogą będzie będą został została człowiek życie życia świat świata "
        "świecie dzień części część właśnie później kiedyś gdzieś jakiś coś ktoś cię mój swój "
        "król góra góry miłość książka książki język języka języku błąd błędy hasło użytkownik "
        "użytkownika wartość nazwę liczbę dołącz usuń dodać zmień wyświetl prawidłowy łódź "
        "kraków źródło źródła żaden ćwiczenia tę tą ją stał miał dał wziął przeszłość przyszłość "
        "miejscowość całe całość mężczyzna piękny święto dziękuję proszę północ południe pół "
        "około ludność gdyż ponieważ według kościół niż żeby dłużej dół właściwy środa wrzesień "
        "poniedziałek"
    ),
    "cs": (
        "že být její také když který která které kteří již až při před může můžete musí není "
        "více než ještě těchto všechny všech však čas část části město země člověk lidé život "
        "dům práce způsob rovněž české český česká čeština větší největší první století uživatel "
        "uživatele uživatelské změnit změna přidat položka položky číslo čísla délka znaků či "
        "dále díky příklad třeba několik několika říká řekl říci dříve dvě tři čtyři pět šest "
        "měl měla svět světa světě věc věci kůň růst úřad účet účtu úplně včera zítra děti "
        "společnost společnosti obě prostě vůbec důležité právě němčina hodně zpět jakož době "
        "běžné příliš údaje zvláštní těžké výběr výsledky řádek řada ďábel teď loď síť chuť gól "
        "telefón ať zeď"
    ),
    "sk": (
        "že byť sú podľa tiež keď ktorý ktorá ktoré ktorí až môže môžete musí ešte týchto všetky "
        "všetkých však čas časť človek ľudia život práca spôsob slovenský slovenská väčší "
        "najväčší prvý storočie používateľ zmeniť pridať vymazať položka číslo dĺžka môj veľa "
        "veľký veľmi deň tvár dieťa súčasť súbor súbory účet údaje páči kľúč kľúča vyššie "
        "najskôr neskôr naľavo ďalej ďalšie ďakujem väčšina pozrieť robiť musieť vôbec pôvod "
        "spoločnosť dôležité činnosť možnosť územie šťastie tých väčšiny vždy možné vŕba gól "
        "telefón kôň päť mäso"
    ),
    "hu": (
        "és már még között után előtt első második szép jó ő én ők több időben idő év évben évek "
        "ország országok magyarország város víz kéz föld nő férfi könyv könyvet ír írta írás szó "
        "szót nyelvű élet ház úr új újra őket ről ról ből ból tól től ért ként által szám számú "
        "százalék üres üzenet hibás érvényes érvénytelen jelszó felhasználó felhasználónév mező "
        "mezőt kötelező törlés hozzáadás módosítás kérjük választott értéket két három négy öt "
        "később jelentős különböző következő történelem történet művészet erdő erő szükséges "
        "található például így úgy amíg lévő róla hosszú csütörtök szülő működik működés "
        "megjelenítés szöveg legalább dátum jövő eső őszi zöld fehér fűszer fű lány fiú apró ló"
    ),
    "ro": (
        "şi să în că această până după fără dacă când cât atât câteva faţă ţară viaţă însă între "
        "într îi îl îşi său săi dată două mână pământ oraş oraşul român română limbă ţări "
        "naţional naţională informaţii parolă ştergere adăuga adaugă schimbă modifică "
        "introduceţi selectaţi câmp aceeaşi decât rămâne începe început înainte încă întreg toţi "
        "aţi ştie peştera măr aşa totuşi mulţi puţin bucureşti apărut pădure câine pâine vânt "
        "înţelege acţiune condiţii staţie preşedinte şef şcoală poveşti părinţi fraţi cărţi "
        "bătrân tânăr oră"
    ),
    "hr": (
        "što može više već između također još će ću ćemo čovjek život riječ riječi kuća noć moć "
        "zašto početak možda važno doći međutim sljedeći korisničko obriši izbriši šest koža "
        "književnost žena žene muž čovjeka naučiti učiti škola pričati priča reč reči čovek "
        "takođe sledeći uključuje uključiti označi različite različit unošenje šifra država "
        "države građani građa događaj događaji nađi đak vođa mlađi tražiti tražilica čak češće "
        "češki teži ništa nešto neće poslušati pomoć vaše naše čas čist čuvati išao otišao došao "
        "znači značenje većina veći treći"
    ),
    "sl": (
        "še že več če življenje človek čas hiša šola začetek pomoč odličen izbriši število "
        "različica žena mož vaš naš naše čeprav pač šele išče iščite všeč drži rešitev veš "
        "deževje vključuje vključno možnost možnosti označi večina različne država države začne "
        "končal končno določen določi določeno sporočilo občina občine občutek otroška učenec "
        "točka točno srečno noč besedišče naključno uporabniško prišel našel čez"
    ),
    "tr": (
        "için değil çok olduğu olduğunu şey önce nasıl şu çünkü yıl yılında büyük küçük güzel "
        "gün günü iş kişi kişiler dünya dünyanın türkiye türkçe türk şehir hayır doğru yanlış "
        "başka bütün aynı şimdi bugün yarın teşekkür lütfen değer değeri kullanıcı adı seçin "
        "geçerli geçersiz değiştir sayısı dosyası olmalıdır olmalı olmuş etmiş gelmiş çıktı "
        "çıkan aldı yaptı söyledi anladım kız çocuk çocuklar öğrenci öğretmen kitabı sözcük "
        "sözlük ülke ülkenin hükümet başkanı tarafından hakkında sırasında içinde altında "
        "üzerinde karşı ışık ağaç dağ yağmur kış yaşam yaş işlem işlemi bağlantı gönder gerçek ı "
        "hâlâ kâğıt rüzgâr millî sükûn"
    ),
    "lt": (
        "būti į iš už ką jų jūs mūsų jūsų metų laiką žmogus žmonės šis šią šio šiuo dėl kurią "
        "kurių čia tačiau galėtų būtų reikšmė slaptažodis pridėti ištrinti įveskite skaičius "
        "žodis žodžiai lietuvių lietuvą miestą šalis pasaulį namų kodėl šiandien ačiū prašome "
        "dvejų trečią pirmą mažas didžioji gražus džiaugsmas ežeras ąžuolas ūkis ėjo šeši todėl "
        "savęs mokslų antrą išsaugoti lentelė įrašas galimybė rašyti mokyklą"
    ),
    "lv": (
        "būt viņš viņa viņi mēs jūs tā tās šis šī šo kā arī vēl pēc līdz kurš kurā laikā gadā "
        "cilvēks cilvēki dzīve latviešu latvijā pilsēta pasaulē mājas kāpēc šodien rīt lūdzu "
        "vērtība lietotājs mainīt dzēst izvēlieties kļūda vārds vārdi vairāk māte tēvs bērni "
        "bērns ļoti ņemt ģimene ķermenis čūska žurnāls rīgā rīgas ūdens ēka ābols tādēļ pašā "
        "visās vēlāk pirmā otrā lielā sākums šādi tāpēc jābūt norādīt saglabāt"
    ),
    "et": (
        "või välja üks üle pärast mõne mõned tänu päev päeva töö tööd töötab õige õigus õpilane "
        "õpetaja kõik kõige väga väike väärtus sõna sõnad küsimus jõgi jää jäi läks läbi näiteks "
        "näha täna täis täpselt käib kätte käsk märkus märts põhi põhjus põld rõõm sõber sõidu "
        "süsteem tüdruk tähendab ühe ühte ühendus üritus ülikool võib võimalik võtta võti hääl "
        "häid vähem vähemalt välju žanr šokolaad öö ööd mõtle lühike"
    ),
    "vi": (
        "và của là có được không một người các những này với đã để đến từ như cũng vào tôi bạn "
        "năm nước việt tiếng nhiều rất sẽ còn lại đó thì mà làm thế nào gì đi về trên dưới trước "
        "giữa ngày tháng giờ học viên trường đại thành phố hà nội sông núi nhà cửa đường chữ "
        "điển ngôn ngữ văn hóa lịch sử xã hội tế chính trị phát triển công việc thông tên mật "
        "khẩu đăng nhập chọn giá hợp lệ đổi thêm xóa số lòng cảm ơn chào hôm tại vì nên hơn nhất "
        "mới cũ lớn nhỏ đẹp tốt mẹ gái cái chúng họ ông bà chị đều phải biết thấy nói hiểu sự "
        "bởi tất bằng cần dần cầu vẫn mẫu rằng nắng tắt chẳng lặp đặt đứng thứ mình chỉ nghĩ kỹ "
        "mỹ lý kỳ lỗi lễ dễ hồ đồ đồng bộ gỗ hỗ trợ dỡ trẻ khoẻ vé mè bè dù cùng vụ dụng địa "
        "thủy bảy lũy sâu câu đâu nhận cứng tỷ tý ẵm ẳng ngỡ xuân tuỳ tuỵ võ"
    ),
}
"""by ISO 639-1 code, in small letters; Norwegian goes with Danish"""

FUNCTION_WORDS = {
    "de": (
        "der die und das ist nicht ein eine den von zu mit sich auf dem des im auch als wie oder "
        "aus bei nach wird sind bitte kein wurde hat werden einen es sie ich wir dieser diese "
        "dieses"
    ),
    "fr": (
        "le la les de des et un une du en est que qui dans pour pas sur par plus au avec ce sont "
        "vous nous il elle se ne ou cette ces mais votre veuillez leur son aux sans"
    ),
    "es": (
        "el la los las de y en un una que es se no por con para su al lo como del este esta pero "
        "sus son ser ha hay si o donde todo porque muy sobre entre favor desde puede"
    ),
    "ca": (
        "el la els les de i en un una que es no per amb del al aquest aquesta ha si o seu seva "
        "dels com ser pot uns hi va ho"
    ),
    "pt": (
        "o a os as de e em um uma que se por com para do da dos das no na ao mais como mas foi "
        "ser seu sua ou pelo pela este esta isso quando muito nos deve favor sem"
    ),
    "it": (
        "il la i le di e in un una che non per con del della dei delle si al da sono come lo gli "
        "nel nella alla questo questa ma anche o ha suo essere stato dal favore"
    ),
    "nl": (
        "de het een en van in is dat op te niet met voor zijn aan er die ook als bij door naar "
        "maar om dit deze uw hij ze wordt worden heeft geen over kan moet werd"
    ),
    "sv": (
        "och i att det som en av med den till inte om ett har de var vi kan du men jag eller "
        "hade dig ska detta denna vid efter finns ange vara ut skall"
    ),
    "da": (
        "og i at det som en af med den til ikke om et har de var vi kan du men jeg eller havde "
        "dig skal dette denne ved efter findes ut av fra han hun sig blev ble ikkje"
    ),
    "fi": (
        "ja on ei se oli ole joka kun mutta niin jos voi olla tai kuin hän ovat mukaan kuten ne "
        "sen sitten vain olen sinun anna jonka kanssa ilman"
    ),
    "is": "og er en sem til af um hann ekki var hefur fyrir eru hans upp sig eftir eins eitt vera",
    "en": (
        "the of and to in is that it for was on are as with his they at be this from have or by "
        "one had not but what all were when we there can an your which their if will"
    ),
    "pl": (
        "w i z na do nie to jest o jak ale od po co tak za jego przez dla oraz by tym czy ma "
        "tego jako lub ten ta pod nad bez ze jej tylko sie go musi proste"
    ),
    "cs": (
        "a v se na je z to do o s i k jako ale za pro po by od tak co nebo podle jsou bylo byla "
        "aby jen ve ze tento tato toto musi pokud jejich"
    ),
    "sk": (
        "a v sa na je z to do o s aj k ako ale za pre po by od tak alebo nie bolo bola aby len "
        "vo zo tento ak ich ktor som bez pri"
    ),
    "hu": (
        "a az nem hogy egy ez is csak meg van volt de ha mint vagy el ki ezt azt fel lehet nincs "
        "kell sem mert minden legyen akkor itt be"
    ),
    "ro": (
        "de la a cu pe este un o din care nu pentru mai se sunt fi ca al ai lui prin sau ale "
        "unei unui acest fost au dar trebuie ce cel fie"
    ),
    "hr": (
        "je i u se na da su za od s a ne to kao o koji ili iz nije bi do po ali samo kako jer "
        "ako biti ima sam ovaj mora ovo nema"
    ),
    "sl": (
        "je in v se na da so za od s ne to kot ki ali iz bi do po pa tudi samo kako ker biti ima "
        "sem ta z o pri mora lahko ni te"
    ),
    "tr": (
        "ve bir bu da de ile ne o en her daha ama ya olan mi sonra ben var sen bunu gibi veya "
        "kadar olarak ise biri hem olur yeni iki edilen"
    ),
    "lt": (
        "ir i kad yra su tai o ne kaip bet jo po ar tik jau nuo iki apie jei per bus turi arba "
        "prie pat labai kas ji jie vienas metu"
    ),
    "lv": (
        "ir un ar par no ka uz bet vai tas kas ne arī lai kad pie nav tikai jo viss pa gan tiek "
        "tur ja kur savu bija jau ievadiet pareizu"
    ),
    "et": (
        "ja on ei see oli ta kui et ka oma aga nii siis mis peab olema kes selle seda kuid pole "
        "nende ning ma sa tema ole need vaid palun"
    ),
    "vi": "cho trong khi con ra theo hai ba nhau ta nam anh em hay sau mang tin trang",
}
"""short words in ASCII letters only, by the same codes"""
