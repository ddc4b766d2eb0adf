"""The plots of the built-in stories, each one page in the template language of story_grammar.py.

What a plot sets up it must settle: the thing that was lost is the thing that is found, the talent
that is named in the first sentence opens the last gate, and so on. The notation keeps to that by
itself, since {thing} is the same thing wherever it stands. Written so that no two derivations
spell the same text; a test proves it.
"""

PLOTS: dict[str, str] = {}

# A treasure is lost, searched for, and fetched by the one who can reach it.
PLOTS["lost"] = """
<옛날><한 동물이 살았> {elder}께서 [만들어|물려|선물해|구해|사다|골라|보내|남겨] 주신 {flower}
무늬 {color} {thing:이/가} {name}의 [보물이었|자랑이었|단짝이었|길동무였]{요}.

<어느 날> {name:은/는} {animal2} {name2}, {animal3} {name3:와/과} {ground}에서 <신나게>
{game:을/를} [하다가|하고 오다가] [그만|깜빡|저도 모르게|어느새] {thing:을/를}
[잃어버렸|떨어뜨렸|잃고 말았]{요}. “<어머나>!” {name:은/는} <슬펐>{요}. {ground2}, {ground3},
{ground4}, {ground5}까지 <샅샅이> 뒤졌지만 [없었|보이지 않았|허탕이었|찾지 못했]{요}.

<그때> <어디서> {chore}던 {?trait} {animal4} {name4:이/가} <표정> <말했>{요}.
“[|아, |응, |혹시 ]{color} {thing} 말이[지|니]? {bird:이/가} {spot}에 [두고|떨어뜨리고|감추고|걸어
놓고] 갔어.” {name:은/는} <길을 걸었>{요}.

[정말|과연|참말로] {thing:은/는} {spot}에 있었지만 [혼자서는 어쩔 수 없었|힘이 모자랐|엄두가 나지
않았|손이 닿지 않았|겁이 났]{요}. <그때> {trait3} {spot.helper:이/가} [다가왔|나타났|
뛰어왔]{요}. “<걱정 마>!” {spot.helper:은/는} {spot.how} {thing:을/를} [꺼내|찾아] 주었{요}.

“<고마워>!” {name:은/는} <기뻤>{요}. 그리고 {food}, {food2}, {food3}, {food4:와/과} {color2}
{thing2:을/를} <많이> <나누었>{요}. <그 뒤로> {name:와/과} {spot.helper:은/는} <단짝>고,
{animal5}, {animal6}, {animal7} {name5}도 와서 {game2:을/를} 했{요}.
"""

# A parent is ill; a child brings the cure from far away, and the talent of line one wins it.
PLOTS["cure"] = """
<옛날>{home}에 {talent} {child:이/가} {elder:을/를} 모시고 <살았>{요}. <어느 날> {elder}께서
{ground}에서 {chore}다가 [쓰러지셨|몸져누우셨|앓아누우셨|병을 얻으셨]{요}. “<어머나>!”
{child:은/는} <슬펐>{요}. {sage}께서 <인자하게> [말씀하셨|일러 주셨]{요}. “{far}에 있는 {color}
{cure:을/를} [구해 드려라|찾아오너라|얻어 오너라].”

{child:은/는} {?color} [보따리|봇짐|바구니|자루|망태기|주머니]에 {food}, {food2}, {food3},
{food4}, {thing:을/를} <싸서> <새벽에> [떠났|길을 나섰]{요}. <길을 걸었>{요}. {obstacle:이/가}
[앞을 막았|길을 끊었|나타났]지만 <꿋꿋이> {obstacle.way}{요}.

<어디서> {trait} {animal} {name:이/가} [배가 고파|길에 지쳐|힘이 빠져|사흘을 굶어] <슬펐>{요}.
{child:은/는} {food:와/과} {food2:을/를} [선뜻|기꺼이|아낌없이|몽땅|웃으며] [내주었|건넸]{요}.
{name:은/는} <표정> [지름길을|빠른 길을|숨은 길을] [알려|가르쳐|일러] 주었{요}.

<드디어> {far}에 [이르자|다다르자|도착하자] [커다란|늙은|사나운|외로운|무서운|졸린|날개 달린|
외눈박이] {guard:이/가} <외쳤>{요}. “[내 마음을 움직이면|나를 기쁘게 하면|네 재주를 보이면|내
시름을 덜어 주면] {cure:을/를} [주마|내주마]!” {child:은/는} [용기를 내어|숨을 고르고|
{elder:을/를} 생각하며|{thing:을/를} 꼭 쥐고|<표정>*4] {talent.show}{요}. {guard:은/는} <기뻤>고,
{cure:을/를} [내주었|건네주었|따 주었]{요}.

{child:이/가} [한달음에|서둘러|기쁘게|지름길로|밤새] 돌아와 [그것을|약을] [올리자|드리자]
{elder}께서는 [거짓말처럼|금세|하룻밤 사이에|사흘 만에|닷새 만에] [일어나셨|나으셨|기운을 차리셨|
활짝 웃으셨]{요}. <잔치>고, {name:와/과} {animal2} {name2}, {animal3} {name3:이/가} <춤추었>{요}.
<그 뒤로> [모두|다 함께|{child:은/는}] <오래오래>{요}.
"""

# A child frees an animal; the animal comes back when the child is in need.
PLOTS["kindness"] = """
<옛날><한 아이가 살았> <어느 날> {ground:으로/로} [나무를 하러|나물을 캐러|물을 길으러|열매를
따러|{flower:을/를} 보러|{game:을/를} 하러] [갔다가|가다가] <어디서> {plight} {wild:을/를} [보았|
만났]{요}. “<살려 줘>!” {wild:이/가} <다급하게> <외쳤>{요}. “[가엾어라|저런|
<걱정 마>*4]!” {child:은/는} <얼른> {plight.rescue}{요}. 그리고 {food}, {food2}, {food3:을/를}
[먹여|나누어|꺼내] 주었{요}. {wild:은/는} <표정> [숲으로|산으로|식구들에게] 돌아갔{요}. <풍경>

<며칠 뒤>, {need}{요}. {child:은/는} {?color} {thing}, {?color} {thing2:와/과} {food4}까지
[팔았|내다 팔았]지만 [소용없었|모자랐|헛일이었]{요}. “<어머나>!” {child:은/는} <슬펐>{요}.

<그때> <창밖>에서 [반가운|귀에 익은|낯익은|다정한] 목소리가 들렸{요}. “<걱정 마>, {child.call}!”
그 {wild:이었/였}{요}. {wild:은/는} {animal} {name}, {animal2} {name2}, {animal3}, {animal4:와/과}
함께 {need.repay}{요}.

“[작은 친절이|착한 마음이|네가 베푼 정이|네 따뜻한 손이] [큰 복이|선물이|은혜가] 되었구나.”
{elder}께서 <인자하게> 말씀하셨{요}. <잔치>고, 모두 <춤추었>{요}. <그 뒤로>
[{home} 사람들은|{child:은/는}|모두] {need.after} <오래오래>{요}.
"""

# A wish comes true on a condition. Two endings, and both belong to what was promised.
PLOTS["promise"] = """
<옛날><한 동물이 살았> {name:은/는} {wish:을/를} [갖고|얻고|가져 보고] 싶어
[밤마다|날마다|저녁마다|새벽마다] <어디서> {food}, {food2}, {food3}, {food9:을/를} 차려 놓고
[빌었|기도했|절을 했|춤을 추었]{요}.

<어느 날> {ground}에서 [{chore}고|{game:을/를} 하고] 있을 때 {spirit}께서
[연기 속에서|빛 속에서|바람을 타고|{flower} 향기와 함께|{bird:을/를} 타고|{bird:와/과} 함께]
나타나셨{요}. “[네 정성이|네 마음이|네 기도가] [갸륵하구나|기특하구나|예쁘구나].
{wish.short:을/를} [주마|받거라]. [다만|그 대신|하지만] {promise}.” {name:은/는} <기뻤>{요}.
그리고 {wish.short:으로/로} {wish.use}{요}.

<며칠 뒤>, {trait2} {animal2} {name2:이/가} {color} {thing:와/과} {food4}, {food8}, {food10:을/를}
[가지고|싸 들고|이고|메고] 찾아왔{요}. “[이것 줄게.|우리 바꾸자.|이것 받고,|있잖아,] 그 약속을
[한 번만|딱 하루만|조금만] [어겨 봐|잊어 봐|모른 체해]!” {name2:은/는} <표정> <말했>{요}.

[“[안 돼|아니야|그럴 순 없어]. [약속은 약속이야|약속은 지켜야 해|나는 {spirit}께 약속했어].”
{name:은/는} <표정> <말했>{요}. 그리고 {promise.kept}{요}. {spirit}께서는 <인자하게> {flower2}
무늬 {color2} {thing2}도 [주셨|내리셨]{요}. <잔치>고, {animal3} {name3:와/과} {animal4}
{name4:이/가} <춤추었>{요}. <그 뒤로> {name:은/는} {wish.short:을/를} [소중히 지니고|아끼며|
동무들과 나누어 쓰며] <오래오래>{요}.*3|{name:은/는} [그만 마음이 흔들렸|고개를 끄덕였|귀가
솔깃했]{요}. 그러고는 {promise.broken}{요}. <그때> {wish.short:이/가} [연기|안개|물거품|이슬|
{bird2}|{flower2} 향기]처럼 [스르르|순식간에|감쪽같이] 사라졌{요}. “[약속을 어겼구나|나와 한
약속을 잊었구나].” {spirit}의 [슬픈|나지막한|엄한] 목소리가 들렸{요}. {name:은/는} <슬펐>{요}.
{animal3} {name3:이/가} {food5}, {food6}, {food7:와/과} {color2} {thing2:을/를} <많이>
<나누었>지만 [소용없었|잊을 수 없었]{요}. <그 뒤로> {name:은/는} [작은|어떤|아무리 작은] 약속도
<꼭> 지켰{요}.*2]
"""

# Two who quarrel over one thing; the weather turns, and the thing is worth less than the other.
PLOTS["rivals"] = """
<옛날>{home}에 {trait} {animal} {name:와/과} {trait2} {animal2} {name2:이/가} <살았>{요}. 둘은
[만나기만 하면|눈만 뜨면|{game:을/를} 할 때마다|{food:을/를} 먹을 때마다] {boast}
[말다툼을 했|다투었|티격태격했|입씨름을 했]{요}.

<어느 날> 둘은 {ground}에서 {flower} 무늬 {color} {thing:을/를} [한꺼번에|동시에|나란히] 보았{요}.
“[내가 먼저 봤어|이건 내 거야|저리 비켜|손대지 마]!” {name:이/가} <찡그리며> <외쳤>{요}.
“[무슨 소리|천만에|어림없지|뭐라고|절대 못 줘|내 거라니까]!” {name2:이/가} <찡그리며> 맞섰{요}.
{animal3} {name3}, {animal4} {name4}, {?trait} {animal5:이/가} 말려도 [소용없었|듣지 않았|
헛일이었]{요}. <풍경>

<그때> <갑자기> {storm}{요}. {name2:은/는} <뒤로 달아나다가> {peril}{요}. “<살려 줘>!
{peril.cry}!” {name:은/는} {thing:을/를} [내던지고|내려놓고|팽개치고] <얼른> 달려갔{요}.
“<걱정 마>!” {name:은/는} {peril.rescue}{요}.

“<고마워>. <미안해>.” {name2:은/는} <슬펐>{요}. “{thing}보다 네가 [훨씬|백 배|더|천 배]
[소중해|귀해|중요해|좋아].” {name:은/는} <표정> <말했>{요}. 둘은 <어디서> {food2}, {food3},
{food4}, {food5}, {food6:을/를} [나누어|사이좋게|배부르게|냠냠] 먹으며 [화해했|손을 잡았|웃었|
쉬었]{요}. {thing:은/는} [하루씩 번갈아 썼|둘의 보물로 삼았|함께 쓰기로 했|{name3}에게 주었|나무에
걸어 두었]{요}. <그 뒤로> 둘은 <단짝>{요}.
"""

# A trickster lies for food; when it is in real trouble nobody believes it, but for one.
PLOTS["trickster"] = """
<옛날>{home}에 [꾀 많은|장난이 심한|욕심 많은|잔꾀 많은|거짓말 잘하는|심술궂은] {animal}
{name:이/가} <살았>{요}. <어느 날> {trait} {animal2} {name2:이/가} {food}, {food2}, {food3},
{food6:을/를} <많이> [들고|이고|안고|지고] {ground}에서 왔{요}. {name:은/는} <표정>
[거짓말을 했|소리쳤|말했]{요}. “{name2.call}, {lie}!” {name2:은/는} {?color}
[바구니|보따리|소쿠리|광주리|자루|수레]를 [내려놓고|길가에 두고|{name}에게 맡기고] <얼른>
뛰어갔{요}. [그사이|그 틈에|이때다 하고] {name:은/는} {food:와/과} {food2:을/를} <몽땅> 먹어
[치웠|버렸]{요}.

[속은 것을 안|돌아온] {name2:은/는} <슬펐>{요}. “[다시는|이제는|앞으로] {name:와/과}
[말도 하지 말자|놀지 말자|{game:을/를} 하지 말자].” {animal3} {name3}, {animal4} {name4}, {?trait}
{animal5:은/는} <찡그리며> <말했>{요}.

<며칠 뒤>, {name:은/는} {ground2}에서 <신나게> [{chore}고|{game2:을/를} 하고] 있었{요}. <그때>
<갑자기> {storm}{요}. {name:은/는} <뒤로 달아나다가> {peril}{요}. “<살려 줘>! {peril.cry}!”
<하지만> {chore2}던 {name3:은/는} [그냥 지나쳤|코웃음을 쳤|들은 척도 하지 않았|돌아섰]{요}.
“[또|이번에도] [거짓말이겠지|속이려는 거지|장난이겠지].” {name:은/는} <슬펐>{요}.

<그때> {name2:이/가} [헐레벌떡|한걸음에|숨을 몰아쉬며|{?color} {thing:을/를} 들고*3|신발도 벗은
채] 달려왔{요}. “<걱정 마>!” {name2:은/는} {peril.rescue}{요}. “<고마워>. <미안해>.” {name:은/는}
[이튿날|다음 날|그날 저녁|사흘 뒤] {food:와/과} {food2}, {food4}, {food5}, {food7:을/를}
{name2}에게 [갚았|건넸|내밀었]{요}. <그 뒤로> {name:은/는} [참말만 했|거짓말을 하지 않았|정직하게
살았]고, {name2:와/과} <단짝>{요}.
"""

# A king asks for the finest gift; gold and pride lose to a humble one given with a reason.
PLOTS["king"] = """
<옛날>{kingdom}에 [백성을 사랑하는|노래를 즐기는|웃음이 많은|{flower:을/를} 아끼는|{food:을/를}
좋아하는|{game:을/를} 즐기는] {king:이/가} 계셨{요}. <어느 날> {king}께서 [공주님|왕자님|
세자마마]의 [생신|혼인|첫돌|열 살 생일]을 맞아 말씀하셨{요}. “가장 [귀한|아름다운|값진|따뜻한|
놀라운] 선물을 가져오면 {prize:을/를} [주겠노라|내리겠노라|주리라].”

[욕심 많은|심술궂은|돈 많은|콧대 높은|거드름 피우는] {child:은/는} {?flower} 무늬 {?color}
{thing:와/과} {?color} {thing3:을/를} [수레에 싣고|비단에 싸서|상자에 담아|가마에 싣고]
[나섰|떠났|왔]{요}. [뽐내기 좋아하는|잘난 체하는|샘 많은|시끄러운] {child2:은/는} {?color}
{thing2}, {thing4}, {?color} {thing5:을/를} [말에 싣고|금실로 묶어|높이 쳐들고|품에 안고]
[뒤따랐|따라나섰]{요}. {home}의 {trait} {child3:은/는} <새벽에> {humble:을/를} 들고
<길을 걸었>{요}. <풍경>

[드디어|마침내|이윽고] 잔칫날이 [되자|밝자|오자] [궁궐|뜰|누각|상|멍석]에는 {food2}, {food3},
{food4}, {food5}, {food6}, {food7:이/가} <많이> <차렸>{요}. “[이보다 귀한 것은 없습니다|값이 천
냥입니다|아무나 못 가집니다|보기만 해도 눈이 부십니다].” {child:와/과} {child2:이/가} <표정>
<말했>{요}. {king}께서는 [고개를 저으셨|말씀이 없으셨|하품을 하셨]{요}.
[마지막으로|맨 끝에|뒤이어] {child3:이/가} {humble:을/를} [두 손으로|떨면서|공손히|<표정>*3]
[올렸|바쳤]{요}. “{humble.why}.”

“[참으로|과연|진실로] [귀한|아름다운|따뜻한|으뜸가는] 선물이로다!” {king}께서는
[무릎을 치며|눈시울을 붉히며|자리에서 일어나|<인자하게>*3] 말씀하셨{요}. {child3:은/는}
<기뻤>{요}. 그리고 {prize:으로/로} {prize.share}{요}. <그 뒤로> {home} [사람들은|식구들은|
이웃들은] {child3:와/과} 함께 <오래오래>{요}.
"""
